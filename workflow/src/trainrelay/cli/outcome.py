"""How an attempt that did not complete its training is told to a person: a sentence and an exit code."""

from __future__ import annotations

from trainrelay.errors import Diverged, Interrupted, NoProgress, TrainrelayError, UserError
from trainrelay.records import AttemptRecord, EndClass
from trainrelay.state import Facts, attempt_log, relative

_MEND: dict[EndClass | None, str] = {
    "oom-gpu": "make model or batch smaller (UniAD: queue_length, DETR: batch_size) and type the same again",
    "disk-full": "free space, then type the same again; what is trained is kept",
    "not-resumed": "see in its log why the trainer ignored the resume; nothing was overwritten by us",
}
_DIVERGED = (
    "see the report for the first step that is not finite; lower the learning rate in the trainer "
    "config (a change trains anew and keeps the old training)"
)


def ending(facts: Facts, attempt: AttemptRecord, *, progressed: bool) -> TrainrelayError:
    """The error that says what happened, where to look and what to type."""
    if attempt.end == "diverged":
        return Diverged(_sentence(facts, attempt, _DIVERGED))
    if attempt.end in _MEND:
        return UserError(_sentence(facts, attempt, _MEND[attempt.end]))
    done = facts.epochs_done
    again = "type the same again: " + (f"it resumes after epoch {done}" if done else "it starts anew")
    if attempt.end == "interrupted" or progressed:
        return Interrupted(_sentence(facts, attempt, again))
    if facts.epochs_done:
        return NoProgress(_sentence(facts, attempt, f"mend the cause, then {again}"))
    return NoProgress(_sentence(facts, attempt, "mend the cause, then type the same again"))


def _sentence(facts: Facts, attempt: AttemptRecord, what_to_type: str) -> str:
    log = relative(attempt_log(facts.paths.folder, attempt).absolute())
    what = f"{facts.run}/{facts.stage}: attempt {attempt.number} ended: {attempt.end}"
    return f"{what} ({attempt.reason}). Log: {log}. {what_to_type[0].upper()}{what_to_type[1:]}."
