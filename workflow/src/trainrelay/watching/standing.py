"""The state of a stage as seen from outside (pure): its state on disk, and whether its owner lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainrelay.supervise import LastOwner
from trainrelay.training.state import StateKind

QUIET_BEATS = 2  # an owner that was seen silent for so long is called so

# running?: an attempt is open, and it is not known yet whether its supervisor lives. supervised: a supervisor
# is at work and no trainer runs. queued: its job waits for Slurm. suspended: the supervisor's process is.
# silent: its counter no longer moves. orphaned: the supervisor died, the trainer runs on this host.
Label = (
    StateKind | Literal["running?", "orphaned", "queued", "supervised", "suspended", "silent", "unreadable"]
)


@dataclass(frozen=True, slots=True)
class Standing:
    """The word for it. `live` None: not known; `silent_s`: for how long this observer heard nothing."""

    label: Label
    live: bool | None
    silent_s: float | None = None


def standing(kind: StateKind, seen: LastOwner | None) -> Standing:
    """The word for a stage whose lease was `seen` so."""
    if seen is None or seen.concluded.kind == "released":
        return Standing("running?", None) if kind == "running" else Standing(kind, False)
    if seen.concluded.kind == "alive":
        return _alive(kind, seen)
    if kind != "running":
        return Standing(kind, None if seen.concluded.kind == "unsure" else False)
    if seen.quiet_s > QUIET_BEATS * seen.claim.beat_s:
        return Standing("silent", False, seen.quiet_s)
    return Standing("running?", None)


def _alive(kind: StateKind, seen: LastOwner) -> Standing:
    if seen.process == "stopped":
        return Standing("suspended", True)
    return Standing("running" if kind == "running" else "supervised", True)
