"""What the rest of a training will cost, from what its attempts measured (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from trainrelay.records import AttemptRecord

_MOST_LEGS = 10  # each counts against a user's limit on submitted jobs


def _pace_s(attempt: AttemptRecord) -> float | None:
    """Wall seconds per iteration, as measured, else with its start-up, unless that would be most of it."""
    iterations, length = iterations_trained(attempt), attempt.iters_per_epoch or 0
    whole = attempt.seconds / iterations if iterations > 0 and iterations * 2 >= length else None
    return attempt.s_per_iter or whole or None


def iterations_trained(attempt: AttemptRecord) -> int:
    """Iterations from an attempt's resume point to its last progress line; 0 where its log does not tell."""
    length = attempt.iters_per_epoch
    if length is None or attempt.last_epoch is None or attempt.last_iteration is None:
        return 0
    epochs, iterations = attempt.began
    return (attempt.last_epoch - 1 - epochs) * length + attempt.last_iteration - iterations


@dataclass(frozen=True, slots=True)
class Price:
    """So many epochs, of whose first so many iterations are done, as measured so far, on so many ranks."""

    epochs: int
    iters_per_epoch: int
    s_per_iter: float
    ranks: int
    done: int = 0

    @property
    def iterations(self) -> int:
        """All that are left."""
        return self.epochs * self.iters_per_epoch - self.done

    @property
    def seconds(self) -> float:
        """Wall time."""
        return self.iterations * self.s_per_iter

    @property
    def gpu_h(self) -> float:
        """GPU-hours; process-hours on cpu."""
        return self.seconds * self.ranks / 3600


def legs(cost: Price | None, runtime_min: int | None) -> int:
    """Jobs of this length to queue at once for the rest of a training: one more than its pace asks for.

    The last one requeues itself if they are too few.
    """
    if cost is None or runtime_min is None:
        return _MOST_LEGS
    needed = math.ceil(cost.seconds / (runtime_min * 60))
    return min(needed + 1, _MOST_LEGS) if needed > 1 else 1


def price(
    attempts: Iterable[AttemptRecord], epochs_left: int, ranks: int, done: int = 0, iters: int | None = None
) -> Price | None:
    """Of so many more epochs, by the newest attempts; None where nothing was measured yet.

    `done` iterations of the first one are trained. A training of `iters` iterations is one epoch.
    """
    newest_first = list(attempts)[::-1]
    pace_s = next(filter(None, map(_pace_s, newest_first)), None)
    lengths = (one.iters_per_epoch for one in newest_first if one.iters_per_epoch)
    length = iters or next(lengths, None)
    if pace_s is None or length is None:
        return None
    return Price(epochs_left, length, pace_s, ranks, done)
