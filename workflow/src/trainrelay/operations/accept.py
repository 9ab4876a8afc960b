"""`trainrelay accept`: an override, bound to one checkpoint or one change."""

from __future__ import annotations

import time
from contextlib import suppress

from trainrelay.errors import CheckpointError, Refusal, UserError
from trainrelay.operations.promote import gate
from trainrelay.operations.train import initial_digest, starts_from_another
from trainrelay.operations.train_record import final_checkpoint
from trainrelay.records import Acceptance, Best, CheckpointFacts
from trainrelay.system.files import make_folder, write_json
from trainrelay.training import plan, state
from trainrelay.training.finished import trained_to


def accept_retraining(facts: state.Facts, reason: str) -> str:
    planned = next(one for one in plan.plan(facts.at.config) if one.at.name == facts.name)
    archived = planned.archived_to if facts.identity else state.archived_twin(facts)
    trains = facts.identity and planned.trains
    if not archived and not (trains and starts_from_another(facts, initial_digest(facts))):
        judged = state.judge(facts)
        what = f"{facts.name} is {judged.kind} ({judged.reason}): nothing would be archived"
        raise UserError(f"{what}, so there is nothing to accept")
    make_folder(facts.paths.folder)
    given = Acceptance(kind="retrain", subject=facts.signature, reason=reason, at_s=time.time())
    write_json(facts.paths.may_retrain, given)
    return f"{facts.gpu_h:.1f} GPU-hours may be archived (they are kept)"


def accept_checkpoint(facts: state.Facts, reason: str) -> str:
    found, best = _checkpoint(facts)
    if state.judge(facts).kind == "complete" and not state.not_as_recorded(facts, found):
        with suppress(CheckpointError, Refusal):
            gate(facts, found, best)
            raise UserError(f"{facts.name}: nothing is blocked, so there is nothing to accept")
    given = Acceptance(
        kind="gate",
        subject=found.file.sha256,
        reason=reason,
        at_s=time.time(),
        checkpoint=found,
        epochs=facts.at.settings.epochs,
        iters=facts.at.settings.iters,
        attempt=facts.attempts[-1].number if facts.attempts else None,
    )
    write_json(facts.paths.accepted, given)
    return f"{found.file.path} ({facts.unit} {found.done(facts.unit)}) is promoted as it is"


def _checkpoint(facts: state.Facts) -> tuple[CheckpointFacts, Best | None]:
    """What would be promoted: the finished training's checkpoint, else the newest valid one."""
    name, judged = facts.name, state.judge(facts)
    if judged.kind == "running":
        raise UserError(f"{name}: it is being trained now; stop it first: trainrelay stop {name}")
    if judged.kind in ("changed", "foreign"):
        raise UserError(state.not_as_asked(facts) or f"{name}: {judged.reason}")
    if judged.kind == "complete" or trained_to(facts.attempts) >= max(facts.asked, facts.done):
        if not state.chooses(facts):
            return final_checkpoint(facts), None
        # It imports the analysis, for which every training would wait: its verb is beside `train`.
        from trainrelay.operations.best import best_checkpoint  # noqa: PLC0415

        return best_checkpoint(facts)
    found, skipped = facts.work_dirs.newest_valid(facts.at.trainer)
    if found is None:
        what = f"{name}: there is no valid checkpoint; train it first, or see its state: trainrelay plan"
        raise UserError("; ".join([what, *skipped]))
    return found, None
