"""`trainrelay restore`: an archived training comes back, its stage's folder and its work dir together."""

from __future__ import annotations

from trainrelay import supervise
from trainrelay.errors import Refusal, UserError
from trainrelay.operations.held_lease import held_lease
from trainrelay.operations.train import stage_job
from trainrelay.system.say import answer, say
from trainrelay.training import archiving, state
from trainrelay.training.archive import ArchivedTraining, archived_trainings
from trainrelay.training.context import StageContext


def restore_stage(at: StageContext, number: int | None = None) -> None:
    """Bring the archived training of this number back; what is there now is archived."""
    name = at.name
    with held_lease(at) as lease:
        job = stage_job(state.read(at))
        if lease.taken_from is not None or supervise.orphaned_attempt(job):
            raise Refusal(f"{name} may still be trained, so nothing was moved; run: trainrelay stop {name}")
        supervise.close_open_attempts(job, say)
        facts = state.read(at)
        wanted, why = _choose(facts, number)
        moves = archiving.moves_back(facts, wanted, at.trainer)
        lease.guard()
        archiving.carry_out(moves)
        # The promotion target may hold another training's: Snakemake promotes this one, or prints why not.
        facts.paths.checkpoint.unlink(missing_ok=True)
    answer(f"{name}: restored {wanted.folder} ({why}). Moved:")
    answer("\n".join(f"  {source} -> {target}" for source, target in moves))
    facts = state.read(at)
    after = state.judge(facts)
    on = f"{name} is now {after.kind}: {after.reason}. To continue, run the snakemake command again."
    say(state.not_as_asked(facts) or on)


def _choose(facts: state.Facts, number: int | None) -> tuple[ArchivedTraining, str]:
    """Which one, and why."""
    found = archived_trainings(facts.paths)
    if number is None and (twin := state.archived_twin(facts)):
        return twin, "what the config asks for now"
    name, numbers = facts.name, ", ".join(str(one.number) for one in found)
    if not found:
        raise UserError(f"{name}: no training of this stage is archived")
    if number is None and facts.identity is not None and not state.identity_changes(facts, facts.identity):
        raise UserError(
            f"{name}: nothing to restore: the training that is in place is the one that the config asks for;"
            f" to bring an archived one back, run: trainrelay restore {name} N (archived: {numbers})"
        )
    named = [one for one in found if number in (None, one.number)]
    if not named:
        raise UserError(f"{name}: no archived training has this number; there is: {numbers}")
    return named[0], "as named" if number else "the newest; none is what the config asks for now"
