"""A lease looked at from outside: nothing is taken, nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainrelay.records import Place
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.supervise.lease.folder import parsed_beat, read_beat, top_claim
from trainrelay.supervise.lease.rules import BeatHistory, Conclusion, SlurmAnswer, after_look, conclude
from trainrelay.system.alive import Fate, fate, here


@dataclass(frozen=True, slots=True)
class LastOwner:
    """What is known of a lease's last owner. `quiet_s`: how long its counter was seen not to move."""

    claim: Claim
    beat: Beat | None
    process: Fate
    concluded: Conclusion
    quiet_s: float


class Observer:
    """One observer of a stage's lease, by its own monotonic clock; `ask`: Slurm, about an owner."""

    def __init__(
        self,
        stage_dir: Path,
        place: Place | None = None,
        clock: Callable[[], float] = time.monotonic,
        ask: Callable[[Claim, Fate], SlurmAnswer] = lambda _claim, _process: "unknown",
    ) -> None:
        self._folder, self._place, self._clock, self._ask = stage_dir / "lease", place or here(), clock, ask
        self._seen: BeatHistory | None = None

    def look(self) -> LastOwner | None:
        """What is known now; None if nobody ever held it. UserError if the files are damaged."""
        began_s, claim = self._clock(), top_claim(self._folder)
        if claim is None:
            return None
        data = read_beat(self._folder, claim.token)
        self._seen = after_look(self._seen, claim, data, began_s, self._clock())
        beat, process = parsed_beat(data), fate(claim.pid, claim.started_ticks, claim.place, self._place)
        concluded = conclude(claim, beat, self._seen, process, self._ask(claim, process))
        return LastOwner(claim, beat, process, concluded, self._seen.quiet_s)
