"""train.json: the small declared output of a training; the same bytes each time it is written."""

from __future__ import annotations

from trainrelay.errors import Refusal, UserError
from trainrelay.records import CheckpointFacts, TrainRecord
from trainrelay.system.files import sha256_of, write_json
from trainrelay.training import state
from trainrelay.training.attempts import attempt_log, legs
from trainrelay.training.retention import explained
from trainrelay.training.state import Facts


def write_train_record(facts: Facts) -> None:
    """Write train.json of a complete training; Refusal if its checkpoint is not the recorded one."""
    found = final_checkpoint(facts)
    if refusal := state.not_as_recorded(facts, found):
        raise Refusal(refusal)
    seconds = sum(attempt.seconds for attempt in facts.attempts)
    write_json(
        facts.paths.train,
        TrainRecord(
            run=facts.at.run,
            stage=facts.at.stage,
            epochs=facts.at.settings.epochs,
            iters=facts.at.settings.iters,
            signature=facts.signature,
            final_checkpoint=found,
            attempts=len(facts.attempts),
            train_s=round(seconds, 1),
            gpu_h=round(facts.gpu_h, 3) if facts.at.settings.resources.gpu else 0.0,
            backend=facts.attempts[-1].backend if facts.attempts else "",
            legs=legs(facts.attempts),
            log_files=[str(attempt_log(facts.paths.folder, attempt)) for attempt in facts.attempts],
        ),
    )


def final_checkpoint(facts: Facts) -> CheckpointFacts:
    """The last one, or the one that the user took instead; read if the file is not as recorded."""
    settings = facts.at.settings
    if settings.promoted_count == facts.asked and (promoted := state.promoted_as_asked(facts)):
        return promoted
    taken = None if settings.choice.count or state.chooses(facts) else state.taken_as_is(facts)
    epoch = state.promoted_count(facts)
    recorded = taken or state.recorded(facts.attempts, epoch)
    wanted = (taken and taken.done(facts.unit)) or epoch
    path = next((path for epoch, path in facts.checkpoints if epoch == wanted), None)
    if path is not None:
        digest = sha256_of(path)
        if recorded is not None and recorded.file.sha256 == digest.sha256:
            return recorded.model_copy(update={"file": digest})
        return facts.at.trainer.inspect(path, facts.work_dirs.epoch_base, facts.checkpoints[-1][1])
    if recorded is None:
        kept = ", ".join(map(str, sorted({epoch for epoch, _ in facts.checkpoints}))) or "none"
        kept += f"; {said}" if (said := explained(facts)) else ""
        raise UserError(
            f"{facts.name}: no checkpoint of {facts.unit} {wanted} is in {facts.work_dirs.current}"
            f" ({facts.unit}s there: {kept}); put it back, or set `checkpoint: {{{facts.unit}: N}}` to"
            " one that is there, then run the same command again; if the trainer deletes older ones, set"
            " it to keep this one"
        )
    return recorded
