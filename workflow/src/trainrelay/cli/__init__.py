"""The command line: thin calls, one sentence and an exit code for what you can fix.

Exit codes: 0 done, 2 something to fix, 3 diverged, 4 no progress, 5 a verdict that
--fail-on names, 75 interrupted and resumable. A bug in trainrelay keeps its traceback and exits 1.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trainrelay.cli.arguments import parser
from trainrelay.errors import Interrupted, TrainrelayError, UserError
from trainrelay.system.files import FULL
from trainrelay.system.hints import DEFAULT_CONFIGFILE, last_config
from trainrelay.system.say import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args(words or ["help"])
    remembered = "configfile" in arguments and arguments.configfile is None
    try:
        if remembered:
            arguments.configfile = last_config()
        say.begin(getattr(arguments, "log", None), getattr(arguments, "configfile", None))
        if remembered and arguments.configfile != DEFAULT_CONFIGFILE:
            say(f"the config of the last snakemake here: {arguments.configfile}")
        with _stopped_by_signals():
            arguments.verb(arguments)
    except KeyboardInterrupt:
        resumes = getattr(arguments, "resumes", False)
        say("Stopped." + " Run the same command again to resume." * resumes)
        return Interrupted.exit_code
    except TrainrelayError as error:
        say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # `| head` has what it wanted; nothing may be flushed into the closed pipe at exit.
        _leave_stdout()
    except OSError as error:
        if error.errno not in FULL:
            raise
        _leave_stdout()
        say(f"cannot write: {error.strerror}")
        return UserError.exit_code
    return 0 if words else UserError.exit_code


def _leave_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM ends a verb as Ctrl-C does; while it trains, the supervisor has its own handlers."""
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
