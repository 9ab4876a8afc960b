"""Small statistics and the way numbers are written in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

# Thresholds of ours, which several checks share: below them a difference may be chance or rounding.
FALL = 0.01  # of the start: what lost less has not fallen
STILL_EARLY = 0.7  # of all epochs; a schedule that decays ends slowly
EPOCHS_TO_JUDGE = 3  # with fewer, one epoch of chance makes the course
MANY_EVALUATIONS = 8  # enough to see how much they vary
JITTERS = 3  # a change of fewer is chance
LATER_EVALUATIONS = 2  # after the best one: a single worse one may be chance
MOST_NAMED = 3  # in one sentence
NOTICEABLE = 0.01  # logs print four decimals: of smaller values, rounding is more than half a percent


def clearly_worse(values: Sequence[float], sign: int) -> bool:
    """Whether the last level of evaluations is worse than the best one by more than they vary from one to the
    next, lately; `sign` is 1 where up is better. True where they are too few to know it."""
    if len(values) < MANY_EVALUATIONS:
        return True
    levels = [sign * median(values[at : at + 3]) for at in range(len(values) - 2)]
    return max(levels) - levels[-1] > JITTERS * wobble(values[len(values) // 2 :])


def wobble(values: Sequence[float]) -> float:
    """The usual change from one value to the next, but for their trend."""
    changes = [after - before for before, after in pairwise(values)]
    trend = median(changes)
    return median(abs(change - trend) for change in changes)


def finite(values: Sequence[float]) -> list[float]:
    """The values that are neither NaN nor infinite."""
    return [value for value in values if math.isfinite(value)]


def noticeable(values: Sequence[float]) -> float:
    """What counts in a course: of one that begins below 1, that part of its beginning, if that is not 0.0."""
    return NOTICEABLE * min(1.0, abs(head_level(values)) or 1.0)


def head_level(values: Sequence[float]) -> float:
    """Where a series starts: the median of its first tenth, of five values at most."""
    return median(values[: max(1, min(5, len(values) // 10))])


def tail_level(values: Sequence[float]) -> float:
    """Where a series is now: the median of its last tenth, of twenty values at most."""
    return median(values[-max(1, min(20, len(values) // 10)) :])


def best_level(values: Sequence[float]) -> float:
    """The lowest level that was held for a tenth of the series."""
    return lowest(values)[1]


def lowest(values: Sequence[float]) -> tuple[int, float]:
    """Where a series was at its lowest level, the middle of it, and that level."""
    width = max(1, min(20, len(values) // 10))
    places = range(0, len(values) - width + 1, max(1, width // 2))
    best, at = min((median(values[at : at + width]), at) for at in places)
    return at + width // 2, best


def risen_from(values: Sequence[float], bound: float) -> int:
    """Where a series that is above a bound at its end rose above it, for the last time."""
    return max((at + 1 for at, value in enumerate(values) if value <= bound), default=0)


def reduction(first: float, last: float) -> float:
    """By which share of `first` a value fell; negative where it rose. 0 where `first` is 0."""
    return (first - last) / abs(first) if first else 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values are below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def text(value: float) -> str:
    """Three significant digits: 106, 48.1, 0.667, 0.0002."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def capital(sentence: str) -> str:
    """With a capital letter at its beginning."""
    return sentence[:1].upper() + sentence[1:]


def enumerated(names: Sequence[str]) -> str:
    """Up to three names, and how many more."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def percent(share: float) -> str:
    """55% of 0.546; one digit after the point below 1%."""
    return f"{100 * share:.0f}%" if abs(share) >= 0.01 or share == 0 else f"{100 * share:.1g}%"
