"""The state of a stage as seen from outside (pure): its state on disk, and whether its owner lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainrelay.supervise import LastOwner
from trainrelay.training.state import StateKind

QUIET_BEATS = 2  # one beat may be late on a network file system

# running?: an attempt is open, and it is not known yet whether its supervisor lives. supervised: a supervisor
# is at work and no trainer runs. queued: its job waits for Slurm. suspended: the supervisor's process is.
# silent: its heartbeat does not change. orphaned: the supervisor died, the trainer runs on this host.
Label = (
    StateKind | Literal["running?", "orphaned", "queued", "supervised", "suspended", "silent", "unreadable"]
)


@dataclass(frozen=True, slots=True)
class StageStatus:
    """The word for it. `live` None: not known; `silent_s`: for how long this observer heard nothing."""

    label: Label
    live: bool | None
    silent_s: float | None = None


def status_of(kind: StateKind, seen: LastOwner | None) -> StageStatus:
    """The word for a stage whose lease was `seen` so."""
    running = kind == "running"
    if seen is None or seen.concluded.kind == "released":
        return StageStatus("running?", None) if running else StageStatus(kind, False)
    if seen.concluded.kind == "alive":
        at_work: Label = "running" if running else "supervised"
        return StageStatus("suspended" if seen.process == "stopped" else at_work, True)
    if not running:
        return StageStatus(kind, None if seen.concluded.kind == "unsure" else False)
    if seen.quiet_s > QUIET_BEATS * seen.claim.beat_s:
        return StageStatus("silent", False, seen.quiet_s)
    return StageStatus("running?", None)
