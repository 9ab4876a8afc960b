"""`python -m trainrelay`: the command line without an activated environment; the script `trainrelay`, too."""

import sys

from trainrelay.errors import Interrupted
from trainrelay.system.say import say


def run() -> int:
    """Runs one verb; returns the exit code."""
    try:
        from trainrelay.cli import main  # noqa: PLC0415

        return main()
    except KeyboardInterrupt:  # while that was being loaded: nothing has begun
        say("Stopped.")
        return Interrupted.exit_code


if __name__ == "__main__":
    sys.exit(run())
