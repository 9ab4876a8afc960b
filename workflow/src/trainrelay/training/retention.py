"""`keep`: which of a trainer's checkpoints go, and what the disk must still hold.

Nothing else of ours removes a file of a trainer. What goes is a numbered checkpoint that this training saved
in its own work dir, that no record or link names, and that the newest, all of them valid, are past.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainrelay.config import stage_paths
from trainrelay.errors import UserError
from trainrelay.preflight.check_result import CheckResult, note, ok
from trainrelay.preflight.folders import space_check
from trainrelay.records import Identity, Promotions, Removals, RemovedCheckpoint
from trainrelay.system.files import inside, read_record, remove_whole, size_of, write_json
from trainrelay.text import quoted
from trainrelay.training.context import StageContext
from trainrelay.training.owners import owner_of
from trainrelay.training.state import Facts

_COPY = re.compile("best|ema|swa|latest|last|final", re.IGNORECASE)  # which a later one is written over
_NOT_COUNTED = (
    "how the trainer numbers the epochs of its checkpoints is not known yet; set epoch_base of trainer"
)
_GB = 1e9  # bytes, as disks are sold
_LEAST_BEST = 2  # the best, and what is promoted if that is no good


def expendable(facts: Facts, ranked: Sequence[int] = ()) -> list[RemovedCheckpoint]:
    """What `keep` lets go once the newest are valid; `ranked`: what was evaluated, the best first."""
    asked, keep, folder = facts.at.settings, facts.at.settings.keep, _folder(facts)
    if keep is None or not _is_ours(facts) or not _counts(facts):
        return []
    counts = sorted({count for count, _ in facts.checkpoints})
    best = [count for count in ranked if count in counts][: max(keep.best or 0, _LEAST_BEST)]
    stay, series = {*counts[-keep.last :], asked.asked, asked.promoted_count, *best}, _series(facts)
    evaluated, now_s = max(ranked, default=0), time.time()
    try:
        records = _records(facts)
    except UserError:
        return []  # a record that is damaged may name any of them
    return [
        RemovedCheckpoint(name=path.name, count=count, size=size_of(path), at_s=now_s)
        for count, path in reversed(facts.checkpoints)
        if path.parent == folder
        and count not in stay
        and not (keep.every and count % keep.every == 0)
        and not (asked.best and count > evaluated)  # it may be better than those
        and _of_series(path.name, count) in series
        and not _is_named(path.name, count, records)
        and not facts.work_dirs.is_from_before(path)
    ]


def retain(facts: Facts, ranked: Sequence[int], guard: Callable[[], object]) -> str | None:
    """Removes what `keep` lets go; a sentence about it, or why not. `guard` raises where we may not write."""
    if not _counts(facts) and len(facts.checkpoints) > 1:
        return f"keep removes nothing yet: {_NOT_COUNTED}"
    if not (going := expendable(facts, ranked)):
        return None
    if why := _not_valid(facts, going):
        return f"keep removes nothing before the newest checkpoints are valid: {why}"
    guard()
    noted = {one.name: one for one in (*facts.removed.files, *going)}  # first: we may be killed in between
    write_json(facts.paths.removed, Removals(files=tuple(noted.values())))
    for path in (_folder(facts) / one.name for one in going):
        guard()
        if _is_ours(facts) and not path.is_symlink():  # reading the newest took a while
            remove_whole(path)
    return f"keep removes {_listed(facts, going)}"


def explained(facts: Facts) -> str | None:
    """Which checkpoints are not there because `keep` removed them; None: none is missing for that."""
    gone = [one for one in facts.removed.files if not (_folder(facts) / one.name).exists()]
    last = time.strftime("%Y-%m-%d %H:%M", time.localtime(max((one.at_s for one in gone), default=0)))
    return f"keep removed {_listed(facts, gone)}, the last of them {last}" if gone else None


def room(facts: Facts) -> CheckResult:
    """Whether the disk holds the checkpoints that are to come, once those that `keep` lets go are gone."""
    at, keep, literals = facts.at, facts.at.settings.keep, facts.at.trainer_config.literals
    saved = sorted({*(count for count, _ in facts.checkpoints), *(one.count for one in facts.removed.files)})
    seen = saved[-1] - saved[-2] if len(saved) > 1 else None
    unknown = 1 if facts.unit == "epoch" else facts.asked
    step = at.trainer.checkpoint_interval(at.trainer_config, at.settings.options) or seen or unknown
    coming = [*range(facts.done + step, facts.asked, step), facts.asked]
    own = (n for key, n in literals.items() if key.endswith("max_keep_ckpts"))
    most = [len(coming), *(n for n in own if type(n) is int and n > 0)]
    if keep:  # the one that is being written is one more
        best = max(keep.best or 0, _LEAST_BEST) if at.settings.best else 0
        most += [keep.last + 1 + best + sum(1 for one in coming if keep.every and one % keep.every == 0)]
    size_bytes = next((size_of(path) for _, path in facts.checkpoints if path.exists()), None)
    freed_bytes = sum(one.size for one in expendable(facts))
    return space_check(facts.work_dirs.current, size_bytes, min(most), freed_bytes)


def step_room(facts: Facts) -> CheckResult | None:
    """Whether disk and memory hold the step checkpoints; None if none are saved, or no size is known."""
    size_bytes = next((sum(one.bytes for one in step.manifest.files.values()) for step in facts.steps), 0)
    own = (size_of(path) for _, path in facts.checkpoints if path.exists())
    if not (facts.at.saves_steps and (size_bytes := size_bytes or next(own, 0))):
        return None
    most, size_gb, folder = facts.at.settings.keep_steps + 1, size_bytes / _GB, facts.paths.folder
    free_gb, mem_gb = shutil.disk_usage(folder).free / _GB, facts.at.settings.resources.mem_gb
    what = f"step checkpoints: up to {most} of about {size_gb:.2f} GB ({free_gb:.1f} GB free for {folder})"
    what += f"; rank 0 holds a copy of {size_gb:.2f} GB in host memory"
    if (most - len(facts.steps)) * size_gb > free_gb:
        return note(f"{what}: saves would fail; make room, or lower keep_steps")
    if isinstance(mem_gb, float) and mem_gb < 2 * size_gb:
        return note(f"{what}, and mem_gb is {mem_gb:g}: raise it, or set checkpoint_interval_min: 0")
    return ok(what)


def best_may_go(at: StageContext) -> Iterator[str]:
    """That the trainer may remove the best, which it does not save apart, before it is promoted."""
    asked, config = at.settings, at.trainer_config
    said = {key.rpartition(".")[2]: value for key, value in {**config.literals, **asked.options}.items()}
    most, step = said.get("max_keep_ckpts"), at.trainer.checkpoint_interval(config, asked.options)
    goes = type(most) is int and step and 0 < most * step < asked.asked
    if asked.best and goes and not said.get("save_best"):
        what = f"the trainer keeps its newest checkpoints alone (max_keep_ckpts: {most}), and may remove the"
        yield f"{what} {asked.best} before it is promoted; set its save_best, too, or max_keep_ckpts: -1"


def outlook(facts: Facts) -> Iterator[str]:
    """What `keep` would remove, and whether the disk holds what is to come, as far as that is known."""
    if facts.at.settings.keep and facts.checkpoints and not _counts(facts):
        yield f"keep would remove nothing: {_NOT_COUNTED}"
    if going := expendable(facts):
        yield f"keep would remove {_listed(facts, going)}, once the newest are valid"
    if facts.at.settings.keep or (facts.checkpoints and room(facts).kind != "ok"):
        yield room(facts).what


def _counts(facts: Facts) -> bool:
    """Whether it is known which epoch a checkpoint is of; the wrong one would go else."""
    return facts.work_dirs.bases.saved is not None


def _folder(facts: Facts) -> Path:
    return facts.at.trainer.saves_in(facts.work_dirs.current)


def _is_ours(facts: Facts) -> bool:
    owner = owner_of(facts.work_dirs.current)
    return facts.identity is not None and owner is not None and owner.id == facts.identity.owner


def _not_valid(facts: Facts, going: Sequence[RemovedCheckpoint]) -> str | None:
    """Why a training could not resume from each that is newer, judged as if the others were gone."""
    names, last = {one.name for one in going}, max(one.count for one in going)
    left = [one for one in facts.checkpoints if one[1].name not in names]
    newer = {count: (count, path) for count, path in reversed(left) if count > last}
    skipped = (facts.work_dirs.newest_valid(facts.at.trainer, [one, left[-1]])[1] for one in newer.values())
    return next((why[0] for why in skipped if why), None)


def _records(facts: Facts) -> list[str]:
    """All that names a checkpoint, as JSON: records, the config, what other stages began from, and links."""
    config, own = facts.at.config, facts.paths.identity
    stages = (stage_paths(config, run, stage) for run, one in config.runs.items() for stage in one.stages)
    begun = [read_record(of.identity, Identity) for of in stages if of.identity != own]
    noted = read_record(facts.paths.promoted, Promotions)
    records = [*facts.attempts, facts.train, facts.accepted, facts.promoted, noted, *begun]
    links = (os.path.realpath(one) for one in inside(_folder(facts)) if one.is_symlink())
    # A command may name another folder's file of that name.
    said = [one.model_dump_json(exclude={"argv"}) for one in records if one]
    return [*said, config.model_dump_json(), *(json.dumps(one, ensure_ascii=False) for one in links)]


def _is_named(name: str, count: int, records: Sequence[str]) -> bool:
    """Whether a path in them ends with this name, or it is the best or a runner-up."""
    says = (f"/{json.dumps(name, ensure_ascii=False)[1:]}", f'"done":{count},"value":')
    return any(one in text for text in records for one in says)


def _series(facts: Facts) -> set[str]:
    """How the trainer numbers its files: what the names of at least two counts have in common."""
    saved = {(path.name, count) for count, path in facts.checkpoints}
    saved |= {(one.name, one.count) for one in facts.removed.files}
    counts: dict[str, set[int]] = {}
    for name, count in saved:
        if (named := _of_series(name, count)) != name and not _COPY.search(name):
            counts.setdefault(named, set()).add(count)
    return {named for named, those in counts.items() if len(those) > 1}


def _of_series(name: str, count: int) -> str:
    """A file's name without its number, counted from 0 or 1; else that of the iterations that so many epochs
    have, as of Hugging Face's Trainer."""
    of = re.sub("[0-9]+", lambda digits: "#" if int(digits[0]) in (count, count - 1) else digits[0], name)
    head, *others = re.split("([0-9]+)", name)
    if of != name or len(others) != len(("number", "tail")) or not count or int(others[0]) % count:
        return of
    return f"{head}#*{int(others[0]) // count}{others[1]}"


def _listed(facts: Facts, files: Sequence[RemovedCheckpoint]) -> str:
    counts = sorted({one.count for one in files})
    what = (
        f"{facts.unit} {quoted(', '.join(map(str, counts)))}; {sum(one.size for one in files) / _GB:.2g} GB"
    )
    return f"{len(counts)} checkpoint{'s' * (len(counts) > 1)} ({what})"
