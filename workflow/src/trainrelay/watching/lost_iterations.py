"""What attempts trained for nothing (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from trainrelay.records import AttemptRecord

LastStep = tuple[int, int, int | None]  # epoch, iteration in it, iterations per epoch where known


def recorded_last_step(attempt: AttemptRecord) -> LastStep | None:
    """The last step that an attempt's record tells of."""
    if attempt.last_epoch is None or attempt.last_iteration is None:
        return None
    return attempt.last_epoch, attempt.last_iteration, attempt.iters_per_epoch


def iterations_lost(attempts: Sequence[AttemptRecord], ends: Mapping[int, LastStep]) -> int:
    """Iterations past the checkpoint that the next attempt began with; `ends` by number of the attempt."""
    return sum(_lost(ends[one.number], after) for one, after in pairwise(attempts) if one.number in ends)


def _lost(end: LastStep, after: AttemptRecord) -> int:
    epoch, iteration, per_epoch = end
    epochs, iterations = after.began
    if epochs and per_epoch is None:  # then nothing but the part of the last epoch can be counted
        return max(0, iteration - iterations) if epochs == epoch - 1 else 0
    return max(0, (epoch - 1 - epochs) * (per_epoch or 0) + iteration - iterations)
