"""`keep`: which of a trainer's checkpoints go, and what the disk must still hold.

Nothing else of ours removes a file of a trainer. What goes is a numbered checkpoint that this training saved in
its own work dir, that no record and no link names, and that the newest, all of them valid, are past.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainrelay.config import Stage, stage_paths
from trainrelay.records import Identity, Promotions, Removals, RemovedCheckpoint
from trainrelay.system.files import inside, read_record, write_json
from trainrelay.training.owners import owner_of
from trainrelay.training.state import Facts

_NO_NUMBER = re.compile(
    "best|ema|swa|latest|last|final", re.IGNORECASE
)  # of a copy, which a later one replaces
_LEAST_BEST = 2  # the best, and what is promoted if that is no good
_SHOWN = 10
_GB = 1e9

Saved = tuple[int, Path]  # the epoch or iteration, and the file


def expendable(facts: Facts, ranked: Sequence[int] = ()) -> list[Saved]:
    """What `keep` lets go once the newest are valid, the oldest first.

    `ranked`: the evaluated epochs, best first, where the best is promoted; the later ones all stay.
    """
    keep, folder = facts.at.settings.keep, facts.work_dirs.current
    if keep is None or not _is_ours(facts, folder):
        return []
    counts, best = {count for count, _ in facts.checkpoints}, facts.at.settings.choice.best
    stay = {*_newest(facts), facts.asked, facts.at.settings.promoted_count, *_promoted_as_best(facts)}
    stay.update(ranked[: max(keep.best or 0, _LEAST_BEST)])
    stay.update(one for one in counts if keep.every and one % keep.every == 0)
    stay.update(one for one in counts if best and one > max(ranked, default=0))
    named = _named(facts)
    return [
        (count, path)
        for count, path in reversed(facts.checkpoints)
        if path.parent == folder
        and count not in stay
        and path.name not in named
        and _is_numbered(path.name, count)
        and not facts.work_dirs.is_from_before(path)
    ]


def retain(facts: Facts, ranked: Sequence[int], guard: Callable[[], object]) -> str | None:
    """Removes what `keep` lets go; a sentence about it, or why not; None: there is nothing to remove.

    Each removal is on record before it is done: killed in between, the next call finishes it. `guard` raises
    where the stage is another supervisor's.
    """
    if not (going := expendable(facts, ranked)):
        return None
    if why := _not_valid(facts, going):
        return f"keep removes nothing before the newest checkpoints are valid: {why}"
    guard()
    if not _is_ours(facts, facts.work_dirs.current):  # reading the newest takes a while
        return None
    now = [
        RemovedCheckpoint(name=path.name, count=count, size=path.lstat().st_size, at_s=time.time())
        for count, path in going
    ]
    before, names = read_record(facts.paths.removed, Removals) or Removals(), {one.name for one in now}
    others = (one for one in before.files if one.name not in names)
    write_json(facts.paths.removed, Removals(files=(*others, *now)))
    for _, path in going:
        guard()
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    return f"keep removes {_listed(facts, now)}"


def explained(facts: Facts) -> str | None:
    """Which checkpoints are not there because `keep` removed them; None: all that it knows of are."""
    if not facts.removed:
        return None
    last = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(one.at_s for one in facts.removed)))
    return f"keep removed {_listed(facts, facts.removed)}, the last of them {last}"


def at_once(facts: Facts, interval: int | None) -> int | None:
    """How many more checkpoints the work dir must hold at a time; None: how often one is saved is not known.

    `interval`: epochs from one to the next, as the trainer's config says.
    """
    settings, done = facts.at.settings, facts.done
    saved = sorted({*(count for count, _ in facts.checkpoints), *(one.count for one in facts.removed)})
    step = interval or (saved[-1] - saved[-2] if len(saved) > 1 else None)
    if step is None:
        return None
    coming = [*range(done + step, facts.asked, step), *[facts.asked] * (facts.asked > done)]
    limits = (n for key, n in facts.at.trainer_config.literals.items() if key.endswith("max_keep_ckpts"))
    own = next((n for n in limits if type(n) is int and n > 0), len(coming))
    return min(len(coming), own, _that_stay(settings, coming))


def outlook(facts: Facts, interval: int | None) -> Iterator[str]:
    """What `keep` would remove, and whether the disk holds what is to come, as far as that is known."""
    keep, going = facts.at.settings.keep, expendable(facts)
    if going:
        sizes = [RemovedCheckpoint(name="", count=n, size=_bytes(path), at_s=0) for n, path in going]
        yield f"keep would remove {_listed(facts, sizes)}, once the newest are valid"
    elif keep and facts.at.settings.choice.best and facts.checkpoints:
        yield "keep removes what is not among the best as the log shows them by then"
    size, number = _bytes(facts.checkpoints[0][1]) if facts.checkpoints else 0, at_once(facts, interval)
    place = next(one for one in (facts.work_dirs.current, *facts.work_dirs.current.parents) if one.is_dir())
    if not size or not number:
        return
    free, needed = shutil.disk_usage(place).free + sum(_bytes(path) for _, path in going), number * size
    what = f"{number} more checkpoints of {size / _GB:.2g} GB{' at a time' if keep else ''}"
    room = f"{free / _GB:.3g} GB are free in {place}{' once those are removed' if going else ''}"
    if needed > free:
        how = "make room, or let keep remove more" if keep else "make room, or set keep"
        yield f"the disk will not hold {what}: {room}; {how}"
    elif keep:
        yield f"the disk holds {what}: {room} (a quota may allow less)"


def _that_stay(settings: Stage, coming: Sequence[int]) -> int:
    """How many of those to come are there at a time, the one that is being written among them."""
    if (keep := settings.keep) is None:
        return len(coming)
    multiples = sum(1 for one in coming if keep.every and one % keep.every == 0)
    best = max(keep.best or 0, _LEAST_BEST) if settings.choice.best else 0
    return keep.last + 1 + multiples + best + (settings.promoted_count in coming[:-1])


def _is_ours(facts: Facts, folder: Path) -> bool:
    owner = owner_of(folder)
    return facts.identity is not None and owner is not None and owner.id == facts.identity.owner


def _newest(facts: Facts) -> list[int]:
    keep = facts.at.settings.keep
    return sorted({count for count, _ in facts.checkpoints}, reverse=True)[: keep.last if keep else None]


def _not_valid(facts: Facts, going: Sequence[Saved]) -> str | None:
    """Why a training could not resume from each of the newest, judged as if the others were gone."""
    left = [one for one in facts.checkpoints if one not in going]
    for count in _newest(facts):
        first = next(one for one in left if one[0] == count)
        _, skipped = facts.work_dirs.newest_valid(facts.at.trainer, [first, left[-1]])
        if skipped:
            return skipped[0]
    return None


def _promoted_as_best(facts: Facts) -> Iterator[int]:
    noted = read_record(facts.paths.promoted, Promotions)
    for record in filter(None, (facts.promoted, noted and noted.best)):
        if record.best:
            yield from (one.epoch for one in (record.best.first, *record.best.runners_up))


def _named(facts: Facts) -> set[str]:
    """The names of files to which a record or a link leads; also those of stages that start from this one."""
    at, run = facts.at, facts.at.config.runs[facts.at.run]
    later = (
        stage_paths(at.config, at.run, name) for name, one in run.stages.items() if one.init_from == at.stage
    )
    begun = (read_record(one.identity, Identity) for one in later)
    noted = read_record(facts.paths.promoted, Promotions)
    records = (*facts.attempts, facts.train, facts.promoted, facts.accepted, noted, *begun)
    links = (os.path.realpath(one) for one in inside(facts.work_dirs.current) if one.is_symlink())
    paths = (path for record in records if record for path in _paths(record.model_dump()))
    return {os.path.basename(path) for path in (*paths, *links)}  # noqa: PTH119 (of text)


def _paths(value: Any) -> Iterator[str]:
    """What is called `path` anywhere in a record."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, tuple | list)
        else ()
    )
    for key, one in items:
        yield from [str(one)] if key == "path" else _paths(one)


def _is_numbered(name: str, count: int) -> bool:
    """Whether its name has its number, counted from 0 or 1, so that no later one is written over it."""
    numbers = {int(digits) for digits in re.findall(r"[0-9]+", name)}
    return not numbers.isdisjoint({count, count - 1}) and not _NO_NUMBER.search(name)


def _bytes(path: Path) -> int:
    return path.lstat().st_size if path.exists() else 0


def _listed(facts: Facts, files: Sequence[RemovedCheckpoint]) -> str:
    counts = sorted({one.count for one in files})
    shown = ", ".join(map(str, counts[-_SHOWN:]))
    before = f"{len(counts) - _SHOWN} up to {counts[-_SHOWN - 1]}, and " if len(counts) > _SHOWN else ""
    what = (
        f"checkpoints of {facts.unit}s {before}{shown}"
        if len(counts) > 1
        else f"that of {facts.unit} {shown}"
    )
    return f"{what} ({sum(one.size for one in files) / _GB:.2g} GB)"
