"""The command line: thin calls, one sentence and an exit code for what a person can mend.

Exit codes: 0 done, 2 mend something, 3 diverged, 4 no progress, 75 interrupted and resumable. A bug of ours
keeps its traceback and exits 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from trainrelay.cli.arguments import parser
from trainrelay.cli.say import say
from trainrelay.errors import TrainrelayError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    arguments = parser().parse_args(argv)
    say.log_to(getattr(arguments, "log", None))
    try:
        arguments.verb(arguments)
    except TrainrelayError as error:
        say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # `| head` has what it wanted; nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


__all__ = ["main"]
