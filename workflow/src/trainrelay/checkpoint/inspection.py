"""Reads a checkpoint without running code from it: is it whole, safe, complete and finite?"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from trainrelay.checkpoint.layout import (
    Contents,
    KeyPath,
    contents_of,
    count_at,
    iterations_in,
    name_of,
    tensors_in,
)
from trainrelay.checkpoint.problems import CUT, EMPTY, BrokenFile, OtherFormat, UnsafeFile, shown
from trainrelay.checkpoint.sources import (
    BadSpans,
    SavedAs,
    Stamp,
    bad_spans,
    root_of,
    stamp_of,
)
from trainrelay.checkpoint.stepped import left_out, stepped_sizes
from trainrelay.checkpoint.values import FinishedEpochs, Tensor
from trainrelay.checkpoint.whole import lacking, refuse_short_part
from trainrelay.errors import CheckpointError, UserError
from trainrelay.records import CheckpointFacts, FileDigest
from trainrelay.system.files import sha256_of, unused
from trainrelay.text import printable

_COUNTED = ("epoch", "meta.epoch", "meta.iter")
_OBSERVED = ("min_val", "max_val")  # a quantization observer's range, which begins as inf to -inf
# What modules call what they train or measure.
_NO_CONSTANTS = ("weight", "bias", "running_mean", "running_var")
_MOST_CLASSES = 10  # in one sentence; the others come after these
_WHOLE_MODULE = 2  # parts of a name: below a package's package
_MOST_BAD = 1000  # weights that are not finite; more are no masks
_BY_EPOCH = SavedAs()


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts, and what a resume needs to know beyond them.

    `missing` names the parts that a resume needs and that are not there.
    """

    facts: CheckpointFacts
    missing: tuple[str, ...]
    first_non_finite_state: str | None  # of the optimizer


def inspect(
    path: Path, epoch_base: int = 0, first: Path | None = None, saved: SavedAs = _BY_EPOCH
) -> CheckpointFacts:
    """The facts of a checkpoint; CheckpointError if it cannot be read, or not safely."""
    return examine(path, epoch_base, first, saved).facts


def examine(
    path: Path, epoch_base: int = 0, first: Path | None = None, saved: SavedAs = _BY_EPOCH
) -> Inspection:
    """Everything that `inspect` says, and whether a training can resume from it.

    `epoch_base` is added to the epoch that it holds, so that finished epochs are counted. `first` is the
    oldest checkpoint of its training: infinities that were there as well are a constant's.
    """
    with _problems_named(path):
        before, digest = stamp_of(path), sha256_of(path)
        first = first if first != path else None
        if lost := lacking(path, first, saved.ranks):
            raise BrokenFile(f"lacks {shown(lost)}, which {printable(first.name if first else '')} has")
        refuse_short_part(path)
        contents = _contents(path, saved)
        if saved.unit == "iteration":
            contents = replace(contents, number=None, iteration=contents.number)
        elif contents.number is not None:
            contents = replace(contents, number=contents.number + epoch_base)
        inspection = _examined(path, digest, contents, saved, first)
        if stamp_of(path) != before:
            raise BrokenFile("changed while it was read")
    return inspection


@dataclass(frozen=True, slots=True)
class Glance:
    """What a checkpoint says of itself, its tensors unread; `problem` as the rest of a sentence.

    `number` is the epoch as it was saved, or the iteration. None without a problem: it holds weights alone.
    `remedy` is what to run where torch can save it again, or to set where it may be the trainer's own.
    `shapes` are those of the weights, if it can be resumed from.
    """

    stamp: Stamp = (0, 0, 0)
    number: int | None = None
    problem: str | None = None
    remedy: str | None = None
    broken: bool = False  # what it held cannot be told
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    numbers: str = ""  # the end of a sentence: where else a count may be
    finished: bool = False  # `number` counts finished epochs, whatever is printed
    classes: tuple[str, ...] = ()  # without which it is unsafe

    @property
    def refused(self) -> bool:
        """Whether it is whole, and will never be understood as it is."""
        return bool(self.classes or self.remedy)

    @property
    def cut_short(self) -> bool:
        """Whether whatever saved it was stopped before its end."""
        return (self.problem or "").endswith((CUT, EMPTY))

    def of_another_network(self, other: Glance) -> bool:
        """Whether neither holds the other's weights, as a copy, an average or a part of it does."""
        return not (self.shapes <= other.shapes or other.shapes <= self.shapes)


def glance(path: Path, saved: SavedAs = _BY_EPOCH) -> Glance:
    """What a checkpoint says of itself; one that has not changed is read once only in a process."""
    try:
        stamp = stamp_of(path)
    except UserError as error:
        return Glance(problem=printable(error).removeprefix(f"{printable(path)} "), broken=True)
    except OSError:
        return Glance(problem="cannot be read", broken=True)
    return _glanced(path, stamp, saved)


@lru_cache(maxsize=1024)  # more than the checkpoints of one work dir
def _glanced(path: Path, stamp: Stamp, saved: SavedAs) -> Glance:
    try:
        contents = _contents(path, saved)
    except UnsafeFile as wish:
        unsafe = f"is unsafe: it wants to {wish} when torch loads it"
        return Glance(stamp, problem=unsafe, classes=wish.classes)
    except (BrokenFile, UserError, OSError) as error:
        remedy = _remedy(error, path) if isinstance(error, OtherFormat) else None
        return Glance(stamp, problem=printable(error), remedy=remedy, broken=remedy is None)
    lost = contents.number is None and contents.optimizer is not None
    there = f"; whole numbers at its top: {contents.numbers}" if contents.numbers else ""
    problem = f"lacks {' and '.join(contents.missing)}{there}" if lost else None
    shapes = Counter(tensor.size for tensor in (() if contents.missing else _tensors(contents.model)))
    finished = isinstance(contents.number, FinishedEpochs)
    return Glance(stamp, contents.number, problem, shapes=shapes, numbers=there, finished=finished)


def _examined(
    path: Path, digest: FileDigest, contents: Contents, saved: SavedAs, first: Path | None
) -> Inspection:
    bad = bad_spans(path, itertools.chain(_tensors(contents.weights), _tensors(contents.optimizer)))
    diverged, constant = _judged(contents, bad, first, saved)
    diverged = diverged or contents.bad_weight
    facts = CheckpointFacts(
        file=digest,
        epoch=contents.number,
        iteration=contents.iteration,
        tensors=sum(1 for _ in _tensors(contents.model)),
        parameters=sum(tensor.numel for tensor in _tensors(contents.model)),
        finite=diverged is None,
        first_non_finite=diverged and shown(diverged),
        constant_infinity=constant,
    )
    state = next((name_of(place) for place, *_ in _found(contents.optimizer, bad)), contents.bad_state)
    return Inspection(facts, contents.missing, state and shown(state))


def _judged(
    contents: Contents, bad: BadSpans, first: Path | None, saved: SavedAs
) -> tuple[str | None, str | None]:
    """The first weight that diverged, else the first whose values are constant, as in a mask.

    Those of a weight that no optimizer steps are, and those that the first checkpoint had in the same places.
    Where there is no other checkpoint, so is a matrix of minus infinity and one other number alone: no step
    of a training leaves that. What may as well be a buffer is no divergence: as many as the optimizer lacks.
    """
    found = list(itertools.islice(_found(contents.weights, bad), _MOST_BAD))
    stepped = stepped_sizes(contents.optimizer, _tensors(contents.weights)) if found else None
    earlier = _bad_in(first, saved) if first and found else None
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


def _bad_in(path: Path, saved: SavedAs) -> dict[str, int] | None:
    """Where weights of another checkpoint are not finite, as in `_found`; None if it cannot be read."""
    with suppress(BrokenFile, UnsafeFile, UserError, OSError):
        weights = _contents(path, saved).weights
        found = itertools.islice(_found(weights, bad_spans(path, _tensors(weights))), _MOST_BAD)
        return {name_of(place): runs for place, _, runs, _ in found}
    return None


def _contents(path: Path, saved: SavedAs) -> Contents:
    root = root_of(path, saved)
    found = contents_of(root)
    if saved.unit == "epoch" and saved.named is None and not saved.key:
        return found
    number = iterations_in(root, saved.named) if saved.unit == "iteration" else saved.named
    number = count_at(root, saved.path) if saved.key and saved.named is None else number
    missing = tuple(part for part in found.missing if part not in _COUNTED)
    lacks = () if number is not None else (saved.key or saved.unit,)
    return replace(found, number=number, missing=(*lacks, *missing))


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
        how = how_to_allow(wish.classes) or (
            f"nothing of it was run; run: mv {typed} {typed}.unsafe and take the checkpoint from where it was"
            " trained, or save it there again with nothing but tensors, numbers and text in it"
        )
        raise CheckpointError(f"{name} is unsafe: it wants to {wish} when torch loads it; {how}") from None
    except BrokenFile as problem:
        raise CheckpointError(f"{name} {problem}; {_remedy(problem, path)}") from problem
    except UserError as error:
        raise CheckpointError(printable(error)) from error
    except OSError as error:
        why = "it does not exist" if isinstance(error, FileNotFoundError) else error.strerror
        raise CheckpointError(f"cannot read {name}: {why}") from error


def how_to_allow(classes: Collection[str]) -> str | None:
    """What to write where it may be the trainer's own classes that are missing: modules, or their packages,
    and the names of what is called."""
    called = {name.removesuffix("()") for name in classes if name.endswith("()")}
    modules = [name.split(".")[:-1] for name in classes if name not in called and not name.endswith("()")]
    if not classes or {name.partition(".")[0] for name in classes} & sys.stdlib_module_names:
        return None
    packages = {tuple(module[: max(_WHOLE_MODULE, len(module) - 1)]) for module in modules}
    widest = {one for one in packages if not any(one[:end] in packages for end in range(1, len(one)))}
    named = ", ".join(
        map(shown, sorted({*(f"{'.'.join(one)}.*" for one in widest), *called})[:_MOST_CLASSES])
    )
    return f"if that is your own (kind script), allow it in config.yaml, below `script`: classes: [{named}]"


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
