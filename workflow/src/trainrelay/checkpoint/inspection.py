"""Reads a checkpoint without running code from it: is it whole, safe, complete and finite?"""

from __future__ import annotations

import itertools
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trainrelay.checkpoint.allowed import ITEM_BYTES, STORAGE_DTYPE
from trainrelay.checkpoint.archive import CUT, EMPTY, Archive
from trainrelay.checkpoint.layout import (
    Contents,
    KeyPath,
    contents_of,
    count_at,
    iterations_in,
    name_of,
    tensors_in,
)
from trainrelay.checkpoint.machine import unpickle
from trainrelay.checkpoint.problems import BrokenFile, OtherFormat, UnsafeFile, shown
from trainrelay.checkpoint.stepped import left_out, stepped_sizes
from trainrelay.checkpoint.values import Global, Storage, Tensor
from trainrelay.errors import CheckpointError, UserError
from trainrelay.records import ITERATIONS, CheckpointFacts, FileDigest, Unit
from trainrelay.system.files import digest_of, reading, unused
from trainrelay.text import printable

if TYPE_CHECKING:
    from trainrelay.checkpoint.finite import Spans

_COUNTS = {"epoch", *ITERATIONS}
_COUNTED = ("epoch", "meta.epoch", "meta.iter")
_OBSERVED = ("min_val", "max_val")  # a quantization observer's range, which begins as inf to -inf
# What modules call what they train or measure.
_NO_CONSTANTS = ("weight", "bias", "running_mean", "running_var")
_MOST_BAD = 1000  # weights that are not finite; more are no masks
BadSpans = dict[tuple[str, str], "Spans"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a training counts, and where a checkpoint says it: `named`, in its name; else under `key`, dotted;
    else under a usual one."""

    unit: Unit = "epoch"
    named: int | None = None
    key: str | None = None


_BY_EPOCH = Counted()


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts, and what a resume needs to know beyond them.

    `missing` names the parts that a resume needs and that are not there.
    """

    facts: CheckpointFacts
    missing: tuple[str, ...]
    first_non_finite_state: str | None  # of the optimizer


def inspect(
    path: Path, epoch_base: int = 0, first: Path | None = None, counted: Counted = _BY_EPOCH
) -> CheckpointFacts:
    """The facts of a checkpoint; CheckpointError if it cannot be read, or not safely."""
    return examine(path, epoch_base, first, counted).facts


def examine(
    path: Path, epoch_base: int = 0, first: Path | None = None, counted: Counted = _BY_EPOCH
) -> Inspection:
    """Everything that `inspect` says, and whether a training can resume from it.

    `epoch_base` is added to the epoch that it holds, so that finished epochs are counted. `first` is the
    oldest checkpoint of its training: infinities that were there as well are a constant's.
    """
    with _problems_named(path), reading(path) as file:
        before = os.fstat(file.fileno())
        digest = digest_of(path, file)
        file.seek(0)
        first = first if first != path else None
        archive = Archive(file, digest.size)
        contents = _contents(archive, counted)
        if counted.unit == "iteration":
            contents = replace(contents, number=None, iteration=contents.number)
        inspection = _examined(archive, digest, contents, epoch_base, first)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise BrokenFile("changed while it was read")
    return inspection


@dataclass(frozen=True, slots=True)
class Glance:
    """What a checkpoint says of itself, its tensors unread; `problem` as the rest of a sentence.

    `number` is the epoch as it was saved, or the iteration. None without a problem: it holds weights alone.
    `remedy` is what to run where torch can save it again. `shapes` are those of the weights, if it can
    be resumed from.
    """

    stamp: tuple[int, int, int] = (0, 0, 0)  # inode, size, mtime in ns
    number: int | None = None
    problem: str | None = None
    remedy: str | None = None
    broken: bool = False  # what it held cannot be told
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    numbers: str = ""  # the end of a sentence: where else a count may be

    @property
    def cut_short(self) -> bool:
        """Whether whatever saved it was stopped before its end."""
        return self.problem in (CUT, EMPTY)

    def of_another_network(self, other: Glance) -> bool:
        """Whether neither holds the other's weights, as a copy, an average or a part of it does."""
        return not (self.shapes <= other.shapes or other.shapes <= self.shapes)


def glance(path: Path, counted: Counted = _BY_EPOCH) -> Glance:
    """What a checkpoint says of itself; a file that has not changed is read once only in a process."""
    try:
        stat = path.stat()
    except OSError:
        return Glance(problem="cannot be read", broken=True)
    return _glanced(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns), counted)


@lru_cache(maxsize=1024)  # more than the checkpoints of one work dir
def _glanced(path: Path, stamp: tuple[int, int, int], counted: Counted) -> Glance:
    try:
        with reading(path) as file:
            contents = _contents(Archive(file, os.fstat(file.fileno()).st_size), counted)
    except UnsafeFile as wish:
        return Glance(stamp, problem=f"is unsafe: it wants to {wish} when torch loads it")
    except (BrokenFile, UserError, OSError) as error:
        remedy = _remedy(error, path) if isinstance(error, OtherFormat) else None
        return Glance(stamp, problem=printable(error), remedy=remedy, broken=remedy is None)
    lost = contents.number is None and contents.optimizer is not None
    there = f"; whole numbers at its top: {contents.numbers}" if contents.numbers else ""
    problem = f"lacks {' and '.join(contents.missing)}{there}" if lost else None
    shapes = Counter(tensor.size for tensor in (() if contents.missing else _tensors(contents.model)))
    return Glance(stamp, contents.number, problem, shapes=shapes, numbers=there)


def _examined(
    archive: Archive, digest: FileDigest, contents: Contents, epoch_base: int, first: Path | None
) -> Inspection:
    bad = _bad_spans(archive, itertools.chain(_tensors(contents.weights), _tensors(contents.optimizer)))
    diverged, constant = _judged(contents, bad, first)
    diverged = diverged or contents.bad_weight
    facts = CheckpointFacts(
        file=digest,
        epoch=None if contents.number is None else contents.number + epoch_base,
        iteration=contents.iteration,
        tensors=sum(1 for _ in _tensors(contents.model)),
        parameters=sum(tensor.numel for tensor in _tensors(contents.model)),
        finite=diverged is None,
        first_non_finite=diverged and shown(diverged),
        constant_infinity=constant,
    )
    state = next((name_of(place) for place, *_ in _found(contents.optimizer, bad)), contents.bad_state)
    return Inspection(facts, contents.missing, state and shown(state))


def _judged(contents: Contents, bad: BadSpans, first: Path | None) -> tuple[str | None, str | None]:
    """The first weight that diverged, else the first whose values are constant, as in a mask.

    Those of a weight that no optimizer steps are, and those that the first checkpoint had in the same places.
    Where there is no other checkpoint, so is a matrix of minus infinity and one other number alone: no step
    of a training leaves that. What may as well be a buffer is no divergence: as many as the optimizer lacks.
    """
    found = list(itertools.islice(_found(contents.weights, bad), _MOST_BAD))
    stepped = stepped_sizes(contents.optimizer, _tensors(contents.weights)) if found else None
    earlier = _bad_in(first) if first and found else None
    unclear = ""
    for place, tensor, runs, has_nan in found:
        name, as_before = name_of(place), earlier is not None and earlier.get(name_of(place)) == runs
        is_mask = len(tensor.size) > 1 and bad[tensor.storage.key, tensor.dtype].is_mask
        constant = (stepped and tensor.size not in stepped) or (is_mask and earlier is None) or as_before
        if not has_nan and (constant or name.endswith(_OBSERVED)):
            continue
        if (not as_before and (has_nan or earlier is not None)) or name.endswith(_NO_CONSTANTS):
            return name, None
        unclear = unclear or name
    # Averages repeat what is in the model.
    several = {(tensor.size, runs) for _, tensor, runs, _ in found}
    if unclear and len(several) > left_out(contents.optimizer, _tensors(contents.model)):
        return unclear, None
    names = [shown(name_of(place)) for place, *_ in found[:1]]
    return (names[0], None) if len(found) == _MOST_BAD else (None, names[0] if names else None)


def _bad_in(path: Path) -> dict[str, int] | None:
    """Where weights of another checkpoint are not finite, as in `_found`; None if it cannot be read."""
    with suppress(BrokenFile, UnsafeFile, UserError, OSError), reading(path) as file:
        archive = Archive(file, os.fstat(file.fileno()).st_size)
        weights = _contents(archive).weights
        found = itertools.islice(_found(weights, _bad_spans(archive, _tensors(weights))), _MOST_BAD)
        return {name_of(place): runs for place, _, runs, _ in found}
    return None


def _contents(archive: Archive, counted: Counted = _BY_EPOCH) -> Contents:
    stream, stop = archive.pickle()
    root = unpickle(stream, lambda said: _storage(archive, said))
    if stream.tell() > stop:
        raise BrokenFile("holds a damaged pickle (it does not end)")
    path = counted.key.split(".") if counted.key else []
    within = itertools.accumulate(path, lambda at, key: isinstance(at, dict) and at.get(key), initial=root)
    for part in (*within, root.get("meta") if isinstance(root, dict) else None):
        if isinstance(part, dict):
            part.update({key: _number(archive, part[key]) for key in _COUNTS.union(path).intersection(part)})
    found = contents_of(root)
    if counted == _BY_EPOCH:
        return found
    number = iterations_in(root, counted.named) if counted.unit == "iteration" else counted.named
    number = count_at(root, path) if path and counted.named is None else number
    missing = tuple(part for part in found.missing if part not in _COUNTED)
    lacks = () if number is not None else (counted.key or counted.unit,)
    return replace(found, number=number, missing=(*lacks, *missing))


def _number(archive: Archive, count: object) -> object:
    """The number that a tensor holds, as of a counter; any other value as it is."""
    match count:
        case Tensor(Storage(key, dtype, size), numel=1) if "int" in dtype and size == ITEM_BYTES[dtype]:
            data = b"".join(archive.chunks(archive.storage_name(key)))
            return int.from_bytes(data, "big" if archive.big_endian() else "little", signed=dtype != "uint8")
    return count


def _storage(archive: Archive, said: object) -> Storage:
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
    return Storage(key, dtype, size)


def _bad_spans(archive: Archive, tensors: Iterable[Tensor]) -> BadSpans:
    """Reads every member once, so that every checksum is compared, and scans those with numbers."""
    from trainrelay.checkpoint import finite  # numpy takes a tenth of a second to import  # noqa: PLC0415

    wanted: dict[str, set[str]] = defaultdict(set)
    arrays: dict[str, Iterator[bytes]] = {}
    for tensor in tensors:
        if tensor.dtype in finite.KINDS:
            wanted[name := archive.storage_name(tensor.storage.key)].add(tensor.dtype)
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
                found[name, dtype] = spans
    return {(name.rpartition("/data/")[2], dtype): spans for (name, dtype), spans in found.items()}


def _found(root: object, bad: BadSpans) -> Iterator[tuple[KeyPath, Tensor, int, bool]]:
    """The tensors below a value that are not finite: where, hashed, and whether a NaN is there."""
    for place, tensor in tensors_in(root):
        spans = bad.get((tensor.storage.key, tensor.dtype))
        if spans and tensor.numel and len(runs := spans.within(tensor.start, tensor.stop)):
            yield place, tensor, hash(runs.tobytes()), spans.has_nan(runs)


def _tensors(root: object) -> Iterator[Tensor]:
    return (tensor for _, tensor in tensors_in(root))


# ---------------------------------------------------------------------- wording


@contextmanager
def _problems_named(path: Path) -> Iterator[None]:
    name, typed = printable(path), shlex.quote(printable(path))
    try:
        yield
    except UnsafeFile as wish:
        raise CheckpointError(
            f"{name} is unsafe: it wants to {wish} when torch loads it; nothing of it was run; "
            f"run: mv {typed} {typed}.unsafe and take the checkpoint from where it was trained, or save it "
            "there again with nothing but tensors, numbers and text in it"
        ) from None
    except BrokenFile as problem:
        raise CheckpointError(f"{name} {problem}; {_remedy(problem, path)}") from problem
    except UserError as error:
        raise CheckpointError(printable(error)) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {name}: {error.strerror}") from error


# For every torch from 1.9 on: the variable is of 2.6, and those before load whole files by default.
_SAVE_AGAIN = (
    'import os, sys, torch; p = sys.argv[1]; whole = torch.load(p, map_location="cpu"); {}'
    'torch.save(whole, p + ".new"); os.replace(p + ".new", p)'
)
_UNWRAP = 'whole = torch.utils._pytree.tree_map(lambda x: getattr(x, "full_tensor", lambda: x)(), whole); '


def _remedy(problem: BrokenFile, path: Path) -> str:
    typed, kept = (shlex.quote(printable(one)) for one in (path, unused(path, "broken")))
    if isinstance(problem, OtherFormat):
        code = _SAVE_AGAIN.format(_UNWRAP if "DTensor" in str(problem) else "")
        return (
            "if your own training wrote it, change how it saves, and save this again with the trainer's"
            " Python (that runs what is in the file):"
            f" TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python -c {shlex.quote(code)} {typed}"
        )
    return (
        f"run: mv {typed} {kept} and put a valid one in its place, or start the workflow again: "
        "training resumes from the checkpoint before it"
    )
