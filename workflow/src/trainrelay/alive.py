"""Whether a process that was seen once is still there."""

from __future__ import annotations

import psutil

# A pid is given again; the start time tells the two apart. It is derived from the wall clock, which may be
# stepped by a little.
SAME_START_S = 2.0


def lives(pid: int, started_s: float) -> bool:
    """Whether the process that had this pid and started then is still there; a zombie is not."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started_s) < SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
