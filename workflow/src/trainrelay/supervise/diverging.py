"""When a loss that is not finite ends a training early (pure): the hours after it would be for nothing."""

from __future__ import annotations

import math

from trainrelay.command import StepSeen

LINES = 5  # a loss scaler skips single steps, and a line may be the mean of many


class Diverging:
    """Counts progress lines in a row whose loss is NaN or infinite."""

    def __init__(self) -> None:
        self._since: StepSeen | None = None
        self._lines = 0

    def see(self, seen: StepSeen) -> str | None:
        """The sentence that says so, once there are too many."""
        if seen.loss is None or math.isfinite(seen.loss):
            self._since, self._lines = None, 0
            return None
        self._since, self._lines = self._since or seen, self._lines + 1
        if self._lines < LINES:
            return None
        where = f"epoch {self._since.epoch}, iteration {self._since.iteration}"
        return f"the loss was not finite on {self._lines} progress lines in a row, from {where} on"
