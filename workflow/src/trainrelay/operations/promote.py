"""`trainrelay promote`: judge the training, verify its checkpoint, promote it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from trainrelay import checkpoint, supervise
from trainrelay.config import Stage, StagePaths
from trainrelay.errors import CheckpointError, LogError, Refusal, TrainrelayError, UserError
from trainrelay.operations.held_lease import held_lease
from trainrelay.records import (
    KEYS,
    Best,
    CheckpointFacts,
    CheckpointRecord,
    FileDigest,
    Finding,
    NotPromoted,
    Promotions,
)
from trainrelay.system.files import read_record, write_json
from trainrelay.system.hints import made_again
from trainrelay.system.say import say
from trainrelay.text import printable
from trainrelay.training import state
from trainrelay.training.context import StageContext


def promote_stage(at: StageContext) -> None:
    """Write the promotion target and checkpoint.json, or refuse with what to run."""
    try:
        with held_lease(at) as lease, state.naming(at):
            try:
                _promote_alone(at, lease)
            except (Refusal, CheckpointError) as error:
                lease.guard()
                if state.current(at).kind == "complete":
                    reason = printable(" ".join(str(error).split()))
                    write_json(at.paths.not_promoted, NotPromoted(reason=reason))
                raise
    except supervise.LivingOwner as held:
        who = f"{supervise.owner_of(held.owner)} trains or promotes it"
        raise Refusal(f"{at.name}: {who}, so nothing was promoted here; wait for it") from None


def _promote_alone(at: StageContext, lease: supervise.Lease) -> None:
    facts = state.read(at)
    if facts.train is None:
        raise UserError(f"{at.name}: {facts.paths.train} is missing; run: snakemake --profile local")
    if (judged := state.judge(facts)).kind in state.REFUSED:
        raise Refusal(f"{at.name}: {judged.reason}")
    settings, source, best = at.settings, facts.train.final_checkpoint, None
    refuse_other_training(facts, source)
    if judged.kind != "complete":
        what = f"{at.name} is {judged.kind}: {judged.reason}"
        raise Refusal(f"{what}; run: {made_again(at.paths.train)}")
    if state.chooses(facts):
        from trainrelay.operations.best import best_checkpoint  # noqa: PLC0415 - `train` imports this module

        source, best = best_checkpoint(facts)
        refuse_other_training(facts, source)
    accepted = _why_accepted(settings, facts, source)
    if accepted is None:
        gate(facts, source, best)
    lease.guard()
    target = facts.paths.target
    if target is not None:
        _note_promotion(facts.paths, source.file.model_copy(update={"path": str(target)}))
    checkpoint.promote(
        Path(source.file.path),
        target,
        expected_sha256=source.file.sha256,
        overwrite=_overwrite(settings),
        owned=written_by_us(facts.paths),
    )
    facts.paths.not_promoted.unlink(missing_ok=True)
    record = CheckpointRecord(
        run=at.run,
        stage=at.stage,
        source=source,
        target=str(target) if target else None,
        accepted=accepted,
        best=best,
    )
    if best:
        noted = _promotions(facts.paths.promoted)
        write_json(facts.paths.promoted, noted.model_copy(update={"best": record}))
    write_json(facts.paths.checkpoint, record)
    unit, done = settings.unit, source.done(settings.unit)
    past = (done or 0) > settings.asked and accepted is None
    warning = f"; warning: {KEYS[unit]} is {settings.asked}, the trainer went past it" if past else ""
    count, why = (best.first.done, f"; {best}") if best else (done, "")
    say(f"{at.name}: {unit} {count} is promoted: {target or source.file.path}{why}{warning}")


def report_unfinished(at: StageContext) -> None:
    """What ended early, or is not promoted, still gets its analysis and its report; neither may hide why."""
    # Every training would wait for these imports before it starts.
    from trainrelay.operations.analyze import analyze_stage  # noqa: PLC0415
    from trainrelay.operations.report import write_reports  # noqa: PLC0415

    try:
        with suppress(LogError):  # none that is understood: the report says how it ended
            analyze_stage(at)
        write_reports(at.config, at.run)
    except TrainrelayError as error:
        say(f"no report: {error}")


def refuse_other_training(facts: state.Facts, source: CheckpointFacts | None = None) -> None:
    """Refusal where a checkpoint (None: what was promoted) is not that of the training that is asked for."""
    done, best = facts.promoted, facts.at.settings.best
    chosen = state.chooses(facts) or not state.taken_as_is(facts)
    if source is None and done and chosen and best != (done.best and done.best.asked):
        again = made_again(facts.paths.checkpoint)
        was, now = (one or "an epoch by its number" for one in (done.best and done.best.asked, best))
        raise Refusal(f"{facts.name}: promoted was {was}, the config asks for {now}; run: {again}")
    found = source or (facts.promoted.source if facts.promoted else None)
    if found and (refusal := state.not_as_asked(facts) or state.not_as_recorded(facts, found)):
        raise Refusal(refusal)


def refuse_foreign_target(facts: state.Facts) -> None:
    """The Refusal with which a promotion would end, before GPU-hours are spent on its checkpoint."""
    if facts.paths.target is None:
        return
    checkpoint.check_target(
        facts.paths.target,
        expected_sha256=facts.train.final_checkpoint.file.sha256 if facts.train else None,
        overwrite=_overwrite(facts.at.settings),
        owned=written_by_us(facts.paths),
        folder=facts.at.trainer.saves_folders,
    )


def _why_accepted(settings: Stage, facts: state.Facts, source: CheckpointFacts) -> str | None:
    """Why you promote this very checkpoint despite findings."""
    if not settings.gate:
        return "gate: off"
    given = facts.accepted
    return given.reason if given and given.subject == source.file.sha256 else None


def _blocking(facts: state.Facts) -> list[Finding]:
    from trainrelay.operations.analyze import judge_stage  # noqa: PLC0415 - `train` imports this module

    try:
        analysis = judge_stage(facts)
    except LogError as error:
        # Without its logs nothing shows that the training is good, but you may know.
        return [Finding(check="logs", severity="critical", message=str(error), blocking=True)]
    if analysis.verdict.kind == "not judged":
        say(f"warning: its numbers are not judged, only its checkpoint: {analysis.verdict.reason}")
    return [finding for finding in analysis.findings if finding.blocking]


def gate(facts: state.Facts, source: CheckpointFacts, best: Best | None = None) -> None:
    """Refusal or CheckpointError where a checkpoint's log or content shows that it is not good."""
    if blocking := _blocking(facts):
        listed = "\n".join(f"  {finding.check}: {finding.message}" for finding in blocking)
        raise Refusal(
            f"{facts.name}: {source.file.path} is not promoted:\n{listed}\n"
            f'To promote it anyway, run: trainrelay accept {facts.name} --reason "..."'
        )
    count = best.first.done if best else state.promoted_count(facts)
    checkpoint.verify(source, epochs=count, iterations=_iterations(facts, source), unit=facts.unit)


def _iterations(facts: state.Facts, source: CheckpointFacts) -> int | None:
    """The iteration that the checkpoint must say, where it says one and an epoch's length was seen."""
    if not facts.at.trainer.saves_iteration or facts.unit == "iteration":
        return None
    per_epoch = facts.attempts[-1].iters_per_epoch if facts.attempts else None
    return per_epoch * source.epoch if per_epoch and source.epoch else None


def _overwrite(settings: Stage) -> bool:
    return settings.promotion is not None and settings.promotion.overwrite


def _note_promotion(paths: StagePaths, digest: FileDigest) -> None:
    """Records a copy before it is made: killed right after it, its file must not count as another's."""
    noted = _promotions(paths.promoted)
    if digest not in noted.written:
        write_json(paths.promoted, noted.model_copy(update={"written": (*noted.written, digest)}))


def written_by_us(paths: StagePaths) -> set[str]:
    """The sha256 of all that we wrote to the target, also by trainings that have been archived since."""
    # `.old*`: also a folder that you moved to FOLDER.old; no stage's name has a dot.
    asides = paths.folder.parent.glob(f"{paths.folder.name}.old*/{paths.promoted.name}")
    return {digest.sha256 for path in (*asides, paths.promoted) for digest in _promotions(path).written}


def _promotions(path: Path) -> Promotions:
    return read_record(path, Promotions) or Promotions()
