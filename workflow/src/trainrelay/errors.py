"""What can go wrong, and the exit code by which people and tests know it.

TrainrelayError
├── UserError            exit 2: something a person mends; one clear sentence that says what to type
│   ├── ConfigError      the configuration: all its problems at once
│   ├── LogError         a log that cannot be read as one
│   ├── CheckpointError  a checkpoint that is missing, broken, unsound or unsafe
│   ├── SlurmError       a command of Slurm that refused, or gave no answer
│   └── Refusal          we could go on, but must not without a person's word
├── Diverged             exit 3: the numbers left the finite world
├── NoProgress           exit 4: attempts end without bringing a new checkpoint
├── Interrupted          exit 75: ended before its last epoch; a relaunch resumes it
└── Fenced               exit 75: another supervisor took the stage over; this one writes nothing more

Anything else that reaches the command line is a bug of ours: traceback and exit 1.
"""

from __future__ import annotations


class TrainrelayError(Exception):
    """An end that the command line reports as one sentence and an exit code, never a traceback."""

    exit_code = 2


class UserError(TrainrelayError):
    """Something that a person mends; the message says what to type."""


class ConfigError(UserError):
    """Every problem of a configuration at once, a line each."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {line}" for line in problems))


class LogError(UserError):
    """A log that is missing, empty, binary or of no format we read."""


class UnknownLogError(LogError):
    """A log without a line of a format that we read."""


class CheckpointError(UserError):
    """A checkpoint that is missing, truncated, not finite, unsafe or not the expected one."""


class SlurmError(UserError):
    """A command of Slurm that refused what was asked of it, or gave no answer."""


class Refusal(UserError):
    """We could go on, but something a person values would be lost."""


class Diverged(TrainrelayError):
    """The training left the finite numbers."""

    exit_code = 3


class NoProgress(TrainrelayError):
    """Attempts end without a new checkpoint."""

    exit_code = 4


class Interrupted(TrainrelayError):
    """Ended before its last epoch, with something to go on from; a relaunch resumes."""

    exit_code = 75


class Fenced(TrainrelayError):
    """Another supervisor took the stage over: nothing of it may be written any more."""

    exit_code = 75
