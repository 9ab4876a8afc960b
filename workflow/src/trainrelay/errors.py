"""What can go wrong, and the exit code by which people and tests know it.

Anything else that reaches the command line is a bug in trainrelay: traceback and exit 1.
"""

from __future__ import annotations

from pathlib import Path

MOST_PROBLEMS = 20  # of one configuration; more would leave the screen


class TrainrelayError(Exception):
    """An end that the command line reports as one sentence and an exit code, never a traceback."""

    exit_code = 2


class UserError(TrainrelayError):
    """Something you can fix; one clear sentence that says what to run."""


class ConfigError(UserError):
    """Every problem of a configuration at once, one line per problem; of many the first and a count."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        more = len(problems) - MOST_PROBLEMS
        shown = problems[:MOST_PROBLEMS] + [f"and {more} more"] * (more > 0)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {line}" for line in shown))


class RecordError(UserError):
    """A file of ours, `path`, that is damaged."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class LogError(UserError):
    """A log that is missing, empty, binary or of no format we read."""


class UnknownLogError(LogError):
    """A log without a line of a format that we read."""


class CheckpointError(UserError):
    """A checkpoint that is missing, truncated, not finite, unsafe or not the expected one."""


class SlurmError(UserError):
    """A command of Slurm that refused what was asked of it, or gave no answer."""


class NoAnswer(SlurmError):
    """It gave none that counts: what was asked may have been done."""


class Refusal(UserError):
    """Possible, but something of value would be lost."""


class Diverged(TrainrelayError):
    """The loss or the weights became NaN or Inf."""

    exit_code = 3


class VerdictRefused(TrainrelayError):
    """A log was judged as `analyze --fail-on` does not allow."""

    exit_code = 5


class NoProgress(TrainrelayError):
    """Attempts saved no new checkpoint."""

    exit_code = 4


class Interrupted(TrainrelayError):
    """Ended before its last epoch, with something to resume from; a relaunch resumes."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later


class Fenced(TrainrelayError):
    """Another supervisor took the stage over: nothing of it may be written any more."""

    exit_code = 75
