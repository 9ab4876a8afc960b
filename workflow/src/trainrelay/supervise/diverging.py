"""When numbers that stay NaN end a training early (pure): the hours after it would be for nothing."""

from __future__ import annotations

import math

from trainrelay.command import StepSeen

LINES = 5  # a loss scaler skips single steps, and a line may be the mean of many


class Diverging:
    """Counts progress lines in a row whose loss is NaN or infinite, or whose gradient norm is NaN.

    Trainers that pass their losses through nan_to_num, as UniAD does, show it in the gradient norm alone. An
    infinite one is a loss scaler's business.
    """

    def __init__(self) -> None:
        self._since: StepSeen | None = None
        self._lines = 0

    def see(self, seen: StepSeen) -> str | None:
        """The sentence that says so, once there are too many."""
        if (what := _not_finite(seen)) is None:
            self._since, self._lines = None, 0
            return None
        self._since, self._lines = self._since or seen, self._lines + 1
        if self._lines < LINES:
            return None
        where = f"epoch {self._since.epoch}, iteration {self._since.iteration}"
        return f"{what} on {self._lines} progress lines in a row, from {where} on"


def _not_finite(seen: StepSeen) -> str | None:
    if seen.loss is not None and not math.isfinite(seen.loss):
        return "the loss was not finite"
    if seen.grad_norm is not None and math.isnan(seen.grad_norm):
        return "the gradient norm was NaN"
    return None
