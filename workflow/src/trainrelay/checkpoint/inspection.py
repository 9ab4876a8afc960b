"""Reads a checkpoint without running code from it: is it whole, safe, complete and finite?"""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trainrelay.checkpoint.allowed import ITEM_BYTES, STORAGE_DTYPE
from trainrelay.checkpoint.archive import Archive
from trainrelay.checkpoint.layout import contents_of, tensors_in
from trainrelay.checkpoint.machine import unpickle
from trainrelay.checkpoint.problems import Broken, Unsafe, escaped, shown
from trainrelay.checkpoint.values import Global, Storage, Tensor
from trainrelay.errors import CheckpointError, UserError
from trainrelay.files import digest_of, reading
from trainrelay.records import CheckpointFacts, FileDigest

if TYPE_CHECKING:
    from trainrelay.checkpoint.finite import Spans

Named = list[tuple[str, Tensor]]
Bad = dict[tuple[str, str], "Spans"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts, and what a resume needs to know beyond them.

    `missing` names the parts that a resume needs and that are not there.
    """

    facts: CheckpointFacts
    missing: tuple[str, ...]
    first_non_finite_state: str | None  # of the optimizer

    @property
    def complete(self) -> bool:
        """Whether a training can resume from it."""
        return not self.missing


def inspect(path: Path, epoch_base: int = 0) -> CheckpointFacts:
    """The facts of a checkpoint; CheckpointError where it cannot be read, or not safely."""
    return examine(path, epoch_base).facts


def examine(path: Path, epoch_base: int = 0) -> Inspection:
    """Everything that `inspect` says, and whether a training can resume from it.

    `epoch_base` is added to the epoch that it holds, so that finished epochs are counted.
    """
    with _problems_named(path), reading(path) as file:
        before = os.fstat(file.fileno())
        digest = digest_of(path, file)
        file.seek(0)
        inspection = _examined(Archive(file, digest.size), digest, epoch_base)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Broken("changed while it was read")
    return inspection


@dataclass(frozen=True, slots=True)
class Glance:
    """What a checkpoint says of itself, its tensors unread; `problem` as the rest of a sentence.

    `number` is the epoch as it was saved. None without a problem: it holds weights alone.
    """

    stamp: tuple[int, int, int] = (0, 0, 0)  # inode, size, mtime in ns
    number: int | None = None
    problem: str | None = None


def glance(path: Path) -> Glance:
    """What a checkpoint says of itself; a file that has not changed is read once only in a process."""
    try:
        stat = path.stat()
    except OSError:
        return Glance(problem="cannot be read")
    return _glanced(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1024)
def _glanced(path: Path, stamp: tuple[int, int, int]) -> Glance:
    try:
        with reading(path) as file:
            archive = Archive(file, os.fstat(file.fileno()).st_size)
            contents = contents_of(unpickle(archive.pickle(), lambda said: _storage(archive, said)))
    except Unsafe as wish:
        return Glance(stamp, problem=f"is unsafe: it wants to {wish} when torch loads it")
    except (Broken, UserError, OSError) as error:
        return Glance(stamp, problem=escaped(error))
    lost = contents.number is None and contents.optimizer is not None
    problem = f"lacks {' and '.join(contents.missing)}" if lost else None
    return Glance(stamp, contents.number, problem)


def _examined(archive: Archive, digest: FileDigest, epoch_base: int) -> Inspection:
    contents = contents_of(unpickle(archive.pickle(), lambda said: _storage(archive, said)))
    weights, states = list(tensors_in(contents.weights)), list(tensors_in(contents.optimizer))
    bad = _bad_spans(archive, [tensor for _, tensor in weights + states])
    first = _first_bad(weights, bad)
    facts = CheckpointFacts(
        file=digest,
        epoch=None if contents.number is None else contents.number + epoch_base,
        iteration=contents.iteration,
        tensors=len(weights),
        parameters=sum(tensor.numel for _, tensor in weights),
        finite=first is None,
        first_non_finite=first,
    )
    return Inspection(facts, contents.missing, _first_bad(states, bad))


def _storage(archive: Archive, said: object) -> Storage:
    """What a persistent id stands for: ("storage", type, key, location, number of elements)."""
    match said:
        case ("storage", Global() as kind, str(key), _, int(count)) if kind.last in STORAGE_DTYPE:
            dtype = STORAGE_DTYPE[kind.last]
        case _:
            raise Broken("refers to a storage in a way that torch does not")
    size = archive.size(archive.storage_name(key))
    if size is None:
        raise Broken(f"lacks the tensor data {shown(key)}")
    if size != count * ITEM_BYTES[dtype]:
        raise Broken(f"declares a size for the tensor data {shown(key)} that is not its size")
    return Storage(key, dtype, size)


def _bad_spans(archive: Archive, tensors: Iterable[Tensor]) -> Bad:
    """Reads every member once, so that every checksum is compared, and scans those with numbers."""
    from trainrelay.checkpoint import finite  # numpy takes a tenth of a second to import  # noqa: PLC0415

    wanted: dict[str, set[str]] = defaultdict(set)
    for tensor in tensors:
        if finite.can_be_bad(tensor.dtype):
            wanted[archive.storage_name(tensor.storage.key)].add(tensor.dtype)
    found: Bad = {}
    big_endian = archive.big_endian()
    for name in archive.names():
        scans = {dtype: finite.Scan(dtype, big_endian) for dtype in wanted.get(name, ())}
        finite.feed_all(scans.values(), archive.chunks(name))
        for dtype, scan in scans.items():
            if spans := scan.spans():
                found[name, dtype] = spans
    return {(name.rpartition("/data/")[2], dtype): spans for (name, dtype), spans in found.items()}


def _first_bad(named: Named, bad: Bad) -> str | None:
    for name, tensor in named:
        spans = bad.get((tensor.storage.key, tensor.dtype))
        if spans and tensor.numel and spans.meets(tensor.start, tensor.stop):
            return shown(name)
    return None


# ---------------------------------------------------------------------- wording


@contextmanager
def _problems_named(path: Path) -> Iterator[None]:
    name, typed = escaped(path), shlex.quote(escaped(path))
    try:
        yield
    except Unsafe as wish:
        raise CheckpointError(
            f"{name} is unsafe: it wants to {wish} when torch loads it; nothing of it was run; "
            f"type: mv {typed} {typed}.unsafe and take the checkpoint from where it was trained, or save it "
            "there again with nothing but tensors, numbers and text in it"
        ) from None
    except Broken as problem:
        raise CheckpointError(f"{name} {problem}; {_remedy(str(problem), typed)}") from problem
    except UserError as error:
        raise CheckpointError(escaped(error)) from error


def _remedy(problem: str, typed: str) -> str:
    if "before 1.6" in problem:
        code = shlex.quote(
            "import sys, torch; p = sys.argv[1]; torch.save(torch.load(p, weights_only=True), p)"
        )
        return f"type: python -c {code} {typed}"
    return (
        f"type: mv {typed} {typed}.broken and put a sound one in its place, or start the workflow again: "
        "training resumes from the checkpoint before it"
    )
