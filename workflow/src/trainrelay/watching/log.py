"""An attempt's log, sampled as it grows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trainrelay.supervise import BelievedProgress, Speed, Tail
from trainrelay.trainers import Follower, StepSeen, Trainer

MOST_LOSSES = 40  # a character each: the sparkline at its widest

_FIRST_READ_BYTES = 2_000_000  # the end of a log that is already there: more than 40 lines of any trainer


class LogSampler:
    """The last progress lines of a log: the last step, losses, speed."""

    def __init__(
        self, log: Path | Tail, trainer: Trainer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._follower = Follower(trainer)
        self._tail = log if isinstance(log, Tail) else Tail(log, last_bytes=_FIRST_READ_BYTES)
        self._speed, self._course = Speed(clock), BelievedProgress()
        self.losses: deque[float] = deque(maxlen=MOST_LOSSES)

    @property
    def step(self) -> StepSeen | None:
        """The newest progress line that later ones do not contradict."""
        return self._course.last

    @property
    def iterations_per_s(self) -> float | None:
        """As it was seen to grow; None until it has."""
        return self._speed.iterations_per_s

    def look(self) -> None:
        """Takes in what is new; a log that is not there yet is none."""
        with suppress(OSError):
            before = self.step
            for line in self._tail.lines():
                self._see(line)
            self._see(self._tail.bar)
            # Lines read in one look came at times that nobody saw.
            if self.step is not None and self.step != before:
                self._speed.step(self.step)

    def _see(self, line: str) -> None:
        seen = self._follower.see(line)
        if isinstance(seen, StepSeen) and self._course.further(seen) and seen.loss is not None:
            self.losses.append(seen.loss)

    def close(self) -> None:
        """Closes the log."""
        self._tail.close()
