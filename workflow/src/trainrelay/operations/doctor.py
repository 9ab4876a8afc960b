"""`trainrelay doctor`: records of a stage that are damaged or gone, rebuilt from what is left of it.

State is read as ever, but a damaged record counts as absent, and one that would be written as written.
"""

from __future__ import annotations

import difflib
import glob
import secrets
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from trainrelay import supervise
from trainrelay.errors import RecordError, Refusal
from trainrelay.operations.held_lease import held_lease
from trainrelay.operations.promote import written_by_us
from trainrelay.records import FORMAT, AttemptRecord, Identity, Owner, Record, Takeover, TrainRecord
from trainrelay.system.files import content, json_bytes, reading_instead, unused, write_bytes, write_json
from trainrelay.text import printable
from trainrelay.training import state
from trainrelay.training.attempts import living, still_run
from trainrelay.training.context import StageContext
from trainrelay.training.owners import NAME
from trainrelay.training.plan import stage_plan
from trainrelay.training.retention import explained
from trainrelay.training.signature import ingredients, signature

_ABSENT = (
    "note: it cannot be rebuilt, and counts no more (an attempt's hours and log, what you accepted); no"
    " checkpoint depends on it; the next snakemake writes train.json and checkpoint.json again"
)
_ASSUMED = (
    "no record tells whether the config, the trainer config and the trainer's defaults are as they were: what"
    " cannot be read any more is as they are now; revert what was changed before you write this"
)
_CLAIM = "note: it told who holds this stage: write this once nothing trains it on any host"


class Repair(NamedTuple):
    """What is wrong with a record, what would be there instead (None: no file), and the difference.

    `assumed`: it is as the config is now, and nothing proves that it was.
    """

    path: Path
    problem: str
    record: Record | None
    lines: list[str]
    assumed: bool = False


def examine(at: StageContext) -> tuple[list[Repair], state.State]:
    """What would be repaired, and the state then; writes nothing. Refusal if the config contradicts it."""
    wrong = _damaged(at)
    instead: dict[Path, Record | None] = dict.fromkeys(wrong)
    with reading_instead(instead):
        facts = state.read(at)
        if facts.lost:
            wrong.setdefault(at.paths.identity, f"{at.paths.identity} is missing")
        if at.paths.identity in wrong:
            instead[at.paths.identity] = _identity(facts)
        facts = state.read(at)
        for path in (folder / NAME for folder in facts.work_dirs.all if folder / NAME in wrong):
            if facts.identity and (known := facts.identity.owner):
                instead[path] = Owner(id=known, was_empty=False, folder=str(at.paths.folder.absolute()))
        judged = state.current(at)
        judged = replace(judged, reason="; ".join(filter(None, [judged.reason, explained(facts)])))
        found = [(path, why, instead[path]) for path, why in wrong.items()]
        shown = [
            Repair(*one, [*_difference(one[0], one[2], facts)], _assumed(one[2], facts)) for one in found
        ]
    return shown, judged


def repair(at: StageContext, *, as_configured: bool) -> tuple[list[Repair], state.State]:
    """Writes what `examine` shows; each damaged file is kept as NAME.damaged, or NAME.damaged2, ..."""
    shown, _ = examine(at)
    if any(one.assumed for one in shown) and not as_configured:
        sure = f"once they are, run: trainrelay doctor {at.name} --write --as-configured"
        raise Refusal(f"{at.name}: nothing was written; {_ASSUMED}; {sure}")
    _refuse_running(at)
    for claim in (one.path for one in shown if _is_claim(one.path)):
        claim.rename(unused(claim, "damaged"))
    with held_lease(at) as lease:
        _refuse_running(at, taken=lease.taken_from is not None)
        repairs, judged = examine(at)
        for path, _, record, *_ in repairs:
            lease.guard()
            if path.exists():
                write_bytes(unused(path, "damaged"), content(path))
            if record is None:
                path.unlink()
            else:
                write_json(path, record)
    return shown, judged


def _refuse_running(at: StageContext, *, taken: bool = False) -> None:
    if (running := living(at.paths.folder)) or taken:
        why = still_run(running) if running else f"wait for it, or run: trainrelay stop {at.name}"
        raise Refusal(f"{at.name} may still be trained, so nothing was written; {why}")


def _is_claim(path: Path) -> bool:
    return path.stem.isdecimal()


def _damaged(at: StageContext) -> dict[Path, str]:
    """What the readers find damaged, one after the other, in their words."""
    found: dict[Path, str] = {}
    while True:
        try:
            with reading_instead(dict.fromkeys(found)):
                written_by_us(at.paths)
                state.archived_twin(state.read(at))
            if not any(map(_is_claim, found)):  # which nothing can be read in the place of
                supervise.Observer(at.paths.supervision).look()
            return found
        except RecordError as error:
            found[error.path] = printable(str(error).partition("; to see what")[0])


def _difference(path: Path, record: Record | None, facts: state.Facts) -> Iterator[str]:
    """The lines of it that go and come, and what is not known about them."""
    if record is None:
        yield _CLAIM if _is_claim(path) else _ABSENT
        return
    before = content(path).decode(errors="replace") if path.exists() else ""
    now = json_bytes(path, record).decode()
    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), n=0)
    yield from (printable(line) for line in lines if not line.startswith(("---", "+++", "@@")))
    if isinstance(record, Identity):
        if proof := _proof(facts):
            yield f"note: {proof[0]} has the signature of these ingredients"
        elif _assumed(record, facts):
            yield f"note: {_ASSUMED}"
            for attempt in facts.attempts[-1:]:
                yield printable(f"note: attempt {attempt.number} ran: {shlex.join(attempt.argv)}")
            yield printable(f"note: the config asks for: {shlex.join(stage_plan(facts.at).launch.argv)}")


def _identity(facts: state.Facts) -> Identity:
    """What is left of it; the rest by owner.json, the attempts, and what the config asks for now."""
    at, left, owner = facts.at, _left_of(facts.paths.identity), facts.owners.get(facts.paths.work_dir)
    if facts.not_ours and (owner is None or owner.id != left.get("owner")):
        raise Refusal(f"{facts.name}: {facts.not_ours}")
    rebuilt = Identity(
        format=FORMAT,
        run=at.run,
        stage=at.stage,
        ingredients=ingredients(at),
        initial_checkpoint=None,  # not known, so not compared until it continues
        work_dir=str(facts.paths.work_dir),
        takeovers=tuple(_takeovers(facts)),
        owner=owner.id if owner else str(left.get("owner") or secrets.token_hex(16)),
    )
    for key in ("ingredients", "initial_checkpoint", "takeovers", "work_dir"):
        with suppress(KeyError, TypeError, ValidationError):
            said = {**rebuilt.ingredients, **left[key]} if key == "ingredients" else left[key]
            rebuilt = Identity.model_validate({**rebuilt.model_dump(), key: said})
    if (proof := _proof(facts)) and proof[1].signature != signature(
        rebuilt.ingredients, proof[1].iters or proof[1].epochs or 0
    ):
        raise Refusal(
            f"{at.name}: {proof[0]} is of another training than the config asks for now, so"
            f" {facts.paths.identity} cannot be rebuilt by it; set the config and the trainer config to what"
            " they were, then run the same command again"
        )
    return rebuilt


def _proof(facts: state.Facts) -> tuple[str, TrainRecord | AttemptRecord] | None:
    """The newest record that has the signature of what was trained, and its name."""
    attempts = ((f"attempt {one.number}", one) for one in reversed(facts.attempts))
    signed = ((name, one) for name, one in (("train.json", facts.train), *attempts) if one and one.signature)
    return next(signed, None)


def _assumed(record: Record | None, facts: state.Facts) -> bool:
    """Whether ingredients of it are those of the config, and nothing proves that they are the training's."""
    if not isinstance(record, Identity) or _proof(facts):
        return False
    left = _left_of(facts.paths.identity)  # what it ends with may be cut short
    return left.get("ingredients") != record.ingredients or [*left][-1] == "ingredients"


def _left_of(path: Path) -> dict[str, Any]:
    """What can still be read of a damaged record, from its beginning."""
    with suppress(OSError, ValueError):
        if isinstance(found := from_json(content(path), allow_partial=True), dict):
            return found
    return {}


def _takeovers(facts: state.Facts) -> Iterator[Takeover]:
    """By the work dirs that they began; what was saved before them counts as far as it was recorded."""
    first, saved = facts.paths.work_dir, max((one.newest_saved for one in facts.attempts), default=0)
    tokens = (path.suffix[7:] for path in first.parent.glob(f"{glob.escape(first.name)}.taken-*"))
    numbers = sorted(int(token) for token in tokens if token.isdecimal())
    yield from (Takeover(token=number, **{f"after_{facts.unit}": saved}) for number in numbers)
