"""What a checkpoint holds, as one dictionary: that of a file of torch.save, or of all the files of a folder.

Of a folder, as Hugging Face's Trainer, accelerate and DeepSpeed make them, each file is a key, named as the
file is: optimizer.pt is `optimizer`, the shards of model-00001-of-00003.safetensors are `model`. A file that
is a checkpoint by itself gives its own keys. What is no file of torch.save, safetensors or JSON, nor a
whole number, is not read, but a plain pickle, which torch.load would run, calls nothing either.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from sys import getsizeof
from typing import IO, TYPE_CHECKING

from trainrelay.checkpoint.allowed import ITEM_BYTES, STORAGE_DTYPE
from trainrelay.checkpoint.archive import LEGACY_MAGIC, Archive
from trainrelay.checkpoint.layout import PARTS, nodes
from trainrelay.checkpoint.machine import calls_nothing, unpickle
from trainrelay.checkpoint.problems import EMPTY, BrokenFile, OtherFormat, UnsafeFile, shown
from trainrelay.checkpoint.safetensors import SafeTensors
from trainrelay.checkpoint.values import FinishedEpochs, Global, Long, Storage, Tensor
from trainrelay.checkpoint.whole import SETTINGS, SHARD, STATES, TORCH, next_of_zero, refuse_lost, refuse_part
from trainrelay.records import ITERATIONS, Unit
from trainrelay.system.files import content, files_below, reading, size_of

if TYPE_CHECKING:
    from trainrelay.checkpoint.finite import Spans

_COUNTS = {"epoch", *ITERATIONS}
_RANDOM = re.compile(r"random|rng")  # states of generators; accelerate's `step` beside them counts batches
_NUMBER, _NUMBER_BYTES = re.compile(rb"\d{1,9}\s?"), 11  # more bytes than it matches
_MARK = "//"  # behind a file's name, before the keys of its storages
_LARGEST_JSON = 32 * 1024 * 1024  # a tokenizer's has some megabytes
_MOST_BYTES = 500_000_000  # of all that a folder's files say; about 300 for each tensor of each rank
BadSpans = dict[tuple[str, str], "Spans"]


@dataclass(frozen=True, slots=True)
class SavedAs:
    """How a training saves: what it counts, and where a checkpoint says it: `named`, in its name; else under
    `key`, dotted; else under a usual one. It may hold objects of `classes`: a.B, or a.* for a package's. As
    many `ranks` saved it and the oldest of its training; None: others, or not known."""

    unit: Unit = "epoch"
    named: int | None = None
    key: str | None = None
    classes: tuple[str, ...] = ()
    ranks: int | None = None

    @property
    def path(self) -> list[str]:
        """The keys that lead to the count."""
        return self.key.split(".") if self.key else []


Stamp = tuple[int, int, int]


def stamp_of(path: Path) -> Stamp:
    """Inode, bytes and mtime in ns, of a folder that of the newest file, too. OSError or UserError."""
    found = path.stat()
    if not S_ISDIR(found.st_mode):
        return found.st_ino, found.st_size, found.st_mtime_ns
    files = [one.stat() for one in files_below(path)]
    inodes = hash((found.st_ino, *((one.st_ino, one.st_mtime_ns) for one in files)))
    return inodes, sum(one.st_size for one in files), max(one.st_mtime_ns for one in (found, *files))


def root_of(path: Path, saved: SavedAs) -> object:
    """All that it holds, tensors as where they are; BrokenFile or UnsafeFile."""
    if not path.is_dir():
        with reading(path) as opened:
            return _unpickled(Archive(opened, _size(opened)), "", saved, saved.path)
    root, left, files = dict[object, object](), _MOST_BYTES, dict.fromkeys(files_below(path))
    refuse_part(path, files)
    for file in files:
        name = file.relative_to(path).as_posix()
        with _named(name):
            said = _said_by(file, f"{name}{_MARK}", saved)
            left -= sum(100 + getsizeof(place[1]) + getsizeof(one) for place, one in nodes(said))
            if left < 0:
                raise BrokenFile("holds, with those before it, more objects than any checkpoint does")
            _add(root, file.relative_to(path), said)
        refuse_lost(path, files, next_of_zero(file, said))
    if not root:
        raise BrokenFile(_nothing_read(path) if size_of(path) else EMPTY)
    return root


def _nothing_read(folder: Path) -> str:
    """As a folder of torch.distributed.checkpoint has only parts."""
    first, *others = sorted(str(file.relative_to(folder)) for file in files_below(folder))
    *most, last = (*STATES, ".json")
    has = f"{shown(first)}{f' and {len(others)} more' if others else ''}"
    read = f"read are {', '.join(most)} and {last}: save the whole weights into it, too"
    return f"is a folder without a file that is read (it has {has}; {read})"


def bad_spans(path: Path, tensors: Iterable[Tensor]) -> BadSpans:
    """Where tensors are not finite, by storage and type. Every member of a file of torch.save is read once,
    so that every checksum is compared."""
    if not path.is_dir():
        with reading(path) as opened:
            return _bad_in(Archive(opened, _size(opened)), "", tensors)
    by_file, found = defaultdict[str, list[Tensor]](list), BadSpans()
    for tensor in tensors:
        raw = tensor.storage.pickled  # of numpy's: a short one is in memory, a long one tells its file
        name = tensor.storage.key.partition(_MARK)[0] if raw is None else ""
        name = Path(raw.path).relative_to(path).as_posix() if isinstance(raw, Long) else name
        by_file[name].append(tensor)
    for file in filter(_is_read, files_below(path)):
        name = file.relative_to(path).as_posix()
        with _named(name), reading(file) as opened:
            if file.suffix == ".safetensors":
                found |= _scanned(SafeTensors(opened, _size(opened)), f"{name}{_MARK}", by_file[name])
            elif file.suffix != ".json":
                wanted = (*by_file[name], *by_file.pop("", ()))
                found |= _bad_in(Archive(opened, _size(opened)), f"{name}{_MARK}", wanted)
    return found


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Problems of a folder's file name it."""
    try:
        yield
    except UnsafeFile as wish:
        raise UnsafeFile(f"{wish} ({shown(name)})", wish.classes) from None
    except OtherFormat as problem:
        raise OtherFormat(f"holds {shown(name)}, which {problem}") from None
    except BrokenFile as problem:
        raise BrokenFile(f"holds {shown(name)}, which {problem}") from None


# ---------------------------------------------------------------------- the files of a folder


def _size(opened: IO[bytes]) -> int:
    return os.fstat(opened.fileno()).st_size


def _is_read(file: Path) -> bool:
    """Whether what a file holds counts; the bytes of the others are only compared."""
    if file.name == SETTINGS or file.suffix not in (*STATES, ".json"):
        return False
    if file.suffix not in TORCH:
        return True
    with reading(file) as opened:
        return opened.read(2) in (b"PK", b"")


def _said_by(file: Path, mark: str, saved: SavedAs) -> object:
    if not _is_read(file):
        if file.suffix not in TORCH or file.name == SETTINGS:
            return None
        with reading(file) as opened:
            if _NUMBER.fullmatch(text := opened.read(_NUMBER_BYTES)):
                return int(text)  # as SpeechBrain's counter.ckpt
        _refuse_calls(file, saved)
        return None
    if file.suffix == ".json":
        return _counts_of(file)
    with reading(file) as opened:
        if file.suffix == ".safetensors":
            return _marked(SafeTensors(opened, _size(opened)), mark)
        stem, *rest = saved.path or [""]
        path = rest if file.stem == stem else saved.path
        return _unpickled(Archive(opened, _size(opened)), mark, saved, path)


def _refuse_calls(file: Path, saved: SavedAs) -> None:
    """torch.load runs any pickle before it asks whether that is its own."""
    with reading(file) as opened:
        is_old = LEGACY_MAGIC in opened.read(64)
        opened.seek(0)
        if is_old:
            Archive(opened, _size(opened))  # says so
        over = calls_nothing(opened)
        opened.seek(0)
        while not over and opened.tell() < _size(opened):
            unpickle(opened, lambda said: said, saved.classes)


def _marked(file: SafeTensors, mark: str) -> dict[object, object]:
    made = dict[object, object]()
    for name, one in file.tensors.items():
        storage = Storage(f"{mark}{name}", one.dtype, one.stop)
        made[name] = Tensor(storage, one.dtype, 0, one.stop, one.size, one.numel)
    return made


def _counts_of(file: Path) -> dict[object, object]:
    """The plain values at the top of a JSON file. Of the Trainer's state, whose epoch is a fraction, the
    epochs that are finished; all of them, once its last step is done. Earlier versions count an epoch only to
    its last step, so less than one step is left of it."""
    try:
        said = json.loads(content(file)) if file.stat().st_size < _LARGEST_JSON else {}  # also with NaN
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data"):  # an object a line, as no file that was cut short begins
            return {}
        raise BrokenFile("is no JSON") from None
    top = said.items() if isinstance(said, dict) else ()
    plain: dict[object, object] = {key: one for key, one in top if isinstance(one, int | float | str)}
    if isinstance(epoch := plain.get("epoch"), float) and 0 <= epoch < 2**31:
        done, most, all_ = (plain.get(key) for key in ("global_step", "max_steps", "num_train_epochs"))
        if isinstance(done, int) and isinstance(most, int) and type(all_) is int and most > 0:
            epoch = all_ if done >= most else min(done * all_ // most, int(epoch + all_ / most))
        plain["epoch"] = FinishedEpochs(epoch)
    return plain


def _add(root: dict[object, object], file: Path, said: object) -> None:
    """A file's content under its name, with its folder's where another has the same keys; the keys of what
    is a checkpoint, or counts, beside them."""
    if said is None:
        return
    stem, counts = SHARD.sub("", file.name).partition(".")[0], not _RANDOM.search(file.name)
    own = said.items() if isinstance(said, dict) else ()
    whole = any(key in PARTS and isinstance(value, dict) and value for key, value in own)
    for key, value in own:
        if (whole or (counts and key in _COUNTS and not isinstance(value, Tensor))) and root.get(key) is None:
            root[key] = value
        elif whole:
            root[f"{file}.{key}"] = value
    if whole:
        return
    there = root.get(stem)
    if isinstance(there, dict) and isinstance(said, dict) and there.keys().isdisjoint(said):
        said = {**there, **said}
    elif there is not None:
        stem = str(file)
    root[stem] = said


# ---------------------------------------------------------------------- a file of torch.save


def _unpickled(archive: Archive, mark: str, saved: SavedAs, path: list[str]) -> object:
    stream, stop = archive.pickle()
    root = unpickle(stream, lambda said: _storage(archive, mark, said), saved.classes)
    if stream.tell() > stop:
        raise BrokenFile("holds a damaged pickle (it does not end)")
    within = itertools.accumulate(path, lambda at, key: isinstance(at, dict) and at.get(key), initial=root)
    for part in (*within, root.get("meta") if isinstance(root, dict) else None):
        if isinstance(part, dict):
            counts = _COUNTS.union(path).intersection(part)
            part.update({key: _number(archive, mark, part[key]) for key in counts})
    return root


def _number(archive: Archive, mark: str, count: object) -> object:
    """The number that a tensor holds, as of a counter; any other value as it is."""
    match count:
        case Tensor(Storage(key, dtype, size), numel=1) if "int" in dtype and size == ITEM_BYTES[dtype]:
            data = b"".join(archive.chunks(archive.storage_name(key.removeprefix(mark))))
            return int.from_bytes(data, "big" if archive.big_endian() else "little", signed=dtype != "uint8")
    return count


def _storage(archive: Archive, mark: str, said: object) -> Storage:
    """What a persistent id means: ("storage", type, key, location, number of elements)."""
    match said:
        case ("storage", Global() as kind, str(key), _, int(count)) if kind.last in STORAGE_DTYPE:
            dtype = STORAGE_DTYPE[kind.last]
        case _:
            raise BrokenFile("refers to a storage in a way that torch does not")
    size = archive.size(archive.storage_name(key))
    if size is None:
        raise BrokenFile(f"lacks the tensor data {shown(key)}")
    if size != count * ITEM_BYTES[dtype]:
        raise BrokenFile(f"declares a size for the tensor data {shown(key)} that is not its size")
    return Storage(f"{mark}{key}", dtype, size)


def _bad_in(archive: Archive, mark: str, tensors: Iterable[Tensor]) -> BadSpans:
    from trainrelay.checkpoint import finite  # numpy takes a tenth of a second to import  # noqa: PLC0415

    wanted: dict[str, set[str]] = defaultdict(set)
    arrays: dict[str, Iterator[bytes]] = {}
    for tensor in tensors:
        if tensor.dtype in finite.KINDS:
            name = archive.storage_name(tensor.storage.key.removeprefix(mark))
            wanted[name].add(tensor.dtype)
            if tensor.storage.pickled is not None:
                arrays[name] = archive.pickled(tensor.storage.pickled)
    found: BadSpans = {}
    big_endian = archive.big_endian()
    for name in (*archive.names(), *arrays):
        scans = {dtype: finite.Scan(dtype, big_endian) for dtype in wanted.get(name, ())}
        # Of every member: its checksum is compared at its end.
        for chunk in arrays.get(name) or archive.chunks(name):
            for scan in scans.values():
                scan.feed(chunk)
        for dtype, scan in scans.items():
            if spans := scan.spans():
                found[f"{'' if name in arrays else mark}{name.rpartition('/data/')[2]}", dtype] = spans
    return found


def _scanned(file: SafeTensors, mark: str, tensors: Iterable[Tensor]) -> BadSpans:
    from trainrelay.checkpoint import finite  # noqa: PLC0415 - as above

    found: BadSpans = {}
    for tensor in tensors:
        if tensor.dtype in finite.KINDS:
            scan = finite.Scan(tensor.dtype, big_endian=False)
            for chunk in file.chunks(tensor.storage.key.removeprefix(mark)):
                scan.feed(chunk)
            if spans := scan.spans():
                found[tensor.storage.key, tensor.dtype] = spans
    return found
