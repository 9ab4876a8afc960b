"""What Slurm's states of a job say about its processes."""

from __future__ import annotations

from trainrelay.slurm import ENDED, RUNNING, states_of
from trainrelay.supervise.lease.rules import SlurmAnswer

# Of each of the two commands: an observer that was away for GAP_BEATS, 20 s, begins to observe again.
_TIMEOUT_S = 5.0
_LOST = {"NODE_FAIL"}  # there the processes may still run
# Its node reported the end. Not PENDING: that is a requeued job, and its former run may have been lost
# with its node.
_GONE = ENDED - _LOST - {"BOOT_FAIL", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL"}


def ask(job: str) -> SlurmAnswer:
    """Whether a job, by its number, still has processes that count; unknown where Slurm cannot be asked."""
    states = states_of(job, _TIMEOUT_S)
    if states & RUNNING:
        return "running"
    if not states or not states <= _GONE | _LOST:
        return "unknown"
    return "lost" if states & _LOST else "gone"
