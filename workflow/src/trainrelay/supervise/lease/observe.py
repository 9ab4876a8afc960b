"""A lease looked at from outside: nothing is taken, nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trainrelay.records import Place
from trainrelay.supervise.lease.claim import Claim
from trainrelay.supervise.lease.folder import parsed_beat, read_beat, top_claim
from trainrelay.supervise.lease.rules import BeatHistory, Conclusion, Look, after_look, conclude
from trainrelay.system.alive import Fate, fate, here

QUIET_BEATS = 2  # a counter that moved, then did not for so long: it is no longer known to move


@dataclass(frozen=True, slots=True)
class LastOwner:
    """What is known of a lease's last owner. `quiet_s`: how long its counter was seen not to move."""

    claim: Claim
    process: Fate
    concluded: Conclusion
    quiet_s: float


def look(folder: Path, clock: Callable[[], float] = time.monotonic) -> Look | None:
    """One look at the highest claim of a lease folder, None if there is none."""
    began_s, claim = clock(), top_claim(folder)
    if claim is None:
        return None
    return Look(claim, read_beat(folder, claim.token), began_s, clock())


class Observer:
    """One observer of a stage's lease, by its own monotonic clock."""

    def __init__(
        self, stage_dir: Path, place: Place | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._place, self._clock = stage_dir / "lease", place or here(), clock
        self._seen: BeatHistory | None = None

    def look(self) -> LastOwner | None:
        """What is known now; None if nobody ever held it. UserError if the files are damaged."""
        found = look(self._folder, self._clock)
        if found is None:
            return None
        self._seen = after_look(self._seen, found)
        claim = found.claim
        # The rules are for an observer that stops once it is certain; this one keeps looking.
        moves = self._seen.moved and self._seen.quiet_s <= QUIET_BEATS * claim.beat_s
        seen = replace(self._seen, moved=moves)
        process = fate(claim.pid, claim.started_ticks, claim.place, self._place)
        concluded = conclude(claim, parsed_beat(found.beat), seen, process, "unknown")
        return LastOwner(claim, process, concluded, self._seen.quiet_s)
