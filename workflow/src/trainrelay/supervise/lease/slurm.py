"""What Slurm says of a job: squeue first, then sacct, which remembers longer."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from trainrelay.supervise.lease.rules import SlurmAnswer

# Of each of the two commands: an observer that was away for GAP_BEATS, 20 s, begins to observe again.
_TIMEOUT_S = 5.0
_RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}
# Its node reported the end. Not PENDING: that is a requeued job, and its former run may have been lost
# with its node.
_GONE = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED", "DEADLINE"}
_LOST = {"NODE_FAIL"}  # there the processes may still run


def ask(job: str) -> SlurmAnswer:
    """Whether a job, by its number, still has processes that count; unknown where Slurm cannot be asked."""
    squeue = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T"]
    sacct = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State"]
    return _answer(_states(squeue) or _states(sacct))


def _answer(states: set[str]) -> SlurmAnswer:
    if states & _RUNNING:
        return "running"
    if not states or not states <= _GONE | _LOST:
        return "unknown"
    return "lost" if states & _LOST else "gone"


def _states(argv: Sequence[str]) -> set[str]:
    """The first word of each line (`CANCELLED by 0`); empty if the command fails or knows no such job."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    lines = done.stdout.decode("utf-8", errors="replace").splitlines() if done.returncode == 0 else []
    return {line.split()[0] for line in lines if line.strip()}
