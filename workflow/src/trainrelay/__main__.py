"""`trainrelay`, also as `python -m trainrelay` without an activated environment."""

import sys


def main() -> int:
    """Run one verb; returns the exit code."""
    try:
        from trainrelay.cli import main as run  # noqa: PLC0415 - it may be interrupted while it is loaded

        return run()
    except KeyboardInterrupt:  # nothing has begun
        print("trainrelay: Stopped.", file=sys.stderr)
        return 75


if __name__ == "__main__":
    sys.exit(main())
