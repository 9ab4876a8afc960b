"""An attempt's log, sampled as it grows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trainrelay.command import StepSeen, Trainer
from trainrelay.supervise import Speed, Tail

MOST_LOSSES = 40

_FIRST_READ_BYTES = 2_000_000  # of a log that is already there, its end


class LogSamples:
    """The last progress lines of a log: the last step, losses, speed."""

    def __init__(self, log: Path, trainer: Trainer, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._trainer = log, trainer
        self._tail: Tail | None = None
        self._speed = Speed(clock)
        self.losses: deque[float] = deque(maxlen=MOST_LOSSES)
        self.step: StepSeen | None = None

    @property
    def iterations_per_s(self) -> float | None:
        """As it was seen to grow; None until it has."""
        return self._speed.iterations_per_s

    def look(self) -> None:
        """Takes in what is new; a log that is not there yet is none."""
        with suppress(OSError):
            before = self.step
            self._read()
            # Lines read in one look came at times that nobody saw.
            if self.step is not None and self.step != before:
                self._speed.step(self.step)

    def _read(self) -> None:
        if self._tail is None:
            if not self._log.is_file():
                return
            self._tail = Tail(self._log, last_bytes=_FIRST_READ_BYTES)
        for line in self._tail.lines():
            if isinstance(seen := self._trainer.observe(line), StepSeen):
                self._take(seen)

    def _take(self, seen: StepSeen) -> None:
        self.step = seen
        if seen.loss is not None:
            self.losses.append(seen.loss)

    def close(self) -> None:
        """Closes the log."""
        if self._tail is not None:
            self._tail.close()
