"""How a launch that did not complete its training is reported: a sentence and an exit code."""

from __future__ import annotations

import os
from pathlib import Path

from trainrelay.errors import Interrupted, TrainrelayError
from trainrelay.records import ENDS, AttemptRecord
from trainrelay.training.attempts import attempt_log
from trainrelay.training.plan import resumes
from trainrelay.training.state import Facts


def end_error(facts: Facts, attempt: AttemptRecord) -> TrainrelayError:
    """The error that says how the newest attempt ended, where to look and what to run, by its record."""
    what = f"{facts.name}: attempt {attempt.number} ended: {attempt.end} ({attempt.reason})."
    path = attempt_log(facts.paths.folder, attempt).absolute()
    log = f"Log: {os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path}."
    decision = attempt.decision
    if decision is not None and decision.step == "final" and attempt.end is not None:
        why, how = (text[0].upper() + text[1:] for text in (decision.reason, decision.what_to_do))
        return ENDS[attempt.end].error(f"{what} {why}. {log} {how}. Then run the same command again.")
    where = f"resume {where}" if (where := resumes(facts)) else "start from scratch"
    return Interrupted(f"{what} {log} Run the same command again to {where}.")
