"""`trainrelay`, also as `python -m trainrelay` without an activated environment."""

import os
import sys


def main() -> int:
    """Run one verb; returns the exit code."""
    _open_streams()
    try:
        from trainrelay.cli import main as run  # noqa: PLC0415 - it may be interrupted while it is loaded

        return run()
    except KeyboardInterrupt:  # nothing has begun
        print("trainrelay: Stopped.", file=sys.stderr)
        return 75


def _open_streams() -> None:
    """A stream that the caller closed (`>&-`) is /dev/null: no file of ours may get its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)  # what is started has them, too
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


if __name__ == "__main__":
    sys.exit(main())
