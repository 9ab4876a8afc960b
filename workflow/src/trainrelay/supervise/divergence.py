"""When numbers that stay NaN end a training early (pure): the hours after it would be wasted."""

from __future__ import annotations

import math

from trainrelay.progress_lines.not_finite import LOST_AFTER_ITERATIONS, LOST_AFTER_LINES, not_finite
from trainrelay.trainers import StepSeen


class Divergence:
    """Counts progress lines in a row that are not finite."""

    def __init__(self) -> None:
        self._since: StepSeen | None = None
        self._lines = 0

    def see(self, seen: StepSeen) -> str | None:
        """The sentence that says so, once there are too many."""
        if (what := not_finite(seen.loss, seen.grad_norm)) is None:
            self._since, self._lines = None, 0
            return None
        self._since, self._lines = self._since or seen, self._lines + 1
        # Where the norm alone shows it.
        loss_hides_it = seen.loss is None or math.isfinite(seen.loss)
        if self._lines < LOST_AFTER_LINES or (
            loss_hides_it and _iterations(self._since, seen) < LOST_AFTER_ITERATIONS
        ):
            return None
        where = f"epoch {self._since.epoch}, iteration {self._since.iteration}"
        return f"{what} on {self._lines} progress lines in a row, from {where} on"


def _iterations(since: StepSeen, seen: StepSeen) -> int:
    """From the one line to the other, both included."""
    return (seen.epoch - since.epoch) * (seen.iters_per_epoch or 0) + seen.iteration - since.iteration + 1
