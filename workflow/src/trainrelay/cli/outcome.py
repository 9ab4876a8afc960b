"""How a launch that did not complete its training is told to a person: a sentence and an exit code."""

from __future__ import annotations

from trainrelay.errors import Diverged, Interrupted, NoProgress, TrainrelayError, UserError
from trainrelay.records import EndClass
from trainrelay.state import Facts, attempt_log, relative
from trainrelay.supervise import Final, Outcome

_ERRORS: dict[EndClass | None, type[TrainrelayError]] = {
    "diverged": Diverged,
    "oom-gpu": UserError,
    "oom-host": UserError,
    "disk-full": UserError,
    "not-resumed": UserError,
    "port": UserError,
}


def ending(facts: Facts, outcome: Outcome) -> TrainrelayError:
    """The error that says what happened, where to look and what to type."""
    attempt, step = outcome.attempt, outcome.step
    what = f"{facts.run}/{facts.stage}: attempt {attempt.number} ended: {attempt.end} ({attempt.reason})."
    log = f"Log: {relative(attempt_log(facts.paths.folder, attempt).absolute())}."
    if isinstance(step, Final):
        said = f"{what} {_capital(step.reason)}. {log} {_capital(step.what_to_type)}."
        return _ERRORS.get(attempt.end, NoProgress)(said)
    return Interrupted(f"{what} {log} {_go_on(facts)}")


def _go_on(facts: Facts) -> str:
    done = facts.epochs_done
    return "Type the same again: " + (f"it resumes after epoch {done}." if done else "it starts anew.")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
