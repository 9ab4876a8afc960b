"""How a metric went in this log: first -> now, from epoch means where the lines are medians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainrelay.analysis.case import Case, Means
from trainrelay.analysis.numbers import FALL, head_level, percent, reduction, tail_level, text

MANY_TIMES = 3  # from here on, percents are hard to read


@dataclass(frozen=True, slots=True)
class Trend:
    """`first` and `now` as shown, `start` and `level` as judged (medians of up to a tenth of the points)."""

    first: float
    now: float
    start: float
    level: float
    places: str
    points: int
    bad: str = ""  # where values are NaN or Inf

    @property
    def falls(self) -> bool:
        """By at least 1% of its start, with every value finite."""
        return not self.bad and reduction(self.start, self.level) >= FALL

    def words(self) -> str:
        """As in "1.21 -> 0.48, 60% lower (means of epochs 1 and 6)"; a single point by its value."""
        if self.points == 1:
            return text(self.now)
        return (
            f"{text(self.first)} -> {text(self.now)}{_change(self.first, self.now)} ({self.places}){self.bad}"
        )


def _change(first: float, now: float) -> str:
    share = reduction(first, now)
    if first == now or first <= 0 or now < 0:  # a share of a negative number means nothing
        return ""
    if now >= MANY_TIMES * first:
        return f", {text(now / first)} times as high"
    return f", {percent(abs(share))} {'lower' if share > 0 else 'higher'}"


def trend(case: Case, names: Sequence[str]) -> Trend | None:
    """The mean over these metrics; None if there are no two points to compare."""
    bad = case.non_finite(*names)
    means = _mean_of([case.epoch_means(name) for name in names]) if case.from_zero else []
    if len(means) > 1:
        epochs = f"means of epochs {means[0][0]} and {means[-1][0]}"
        return _trend([value for _, value in means], epochs, bad=bad)
    places = "medians of this log's lines" if case.medians else "first and latest lines"
    return _trend(case.row_means(names), places, bad=bad)


def validation_trend(case: Case, name: str) -> Trend | None:
    """The same of a validation metric."""
    means = [(at, value) for at, value in case.validation_means(name) if math.isfinite(value)]
    if not means:
        return None
    word = "iterations" if case.by_iteration else "epochs"
    places = f"{word} {means[0][0]} and {means[-1][0]}" if len(means) > 1 else f"{word[:-1]} {means[0][0]}"
    return _trend([value for _, value in means], places, fewest=1)


def _trend(values: list[float], places: str, fewest: int = 2, bad: str = "") -> Trend | None:
    if len(values) < fewest:
        return None
    start, level = head_level(values), tail_level(values)
    now = values[-1] if places.startswith(("means", "epoch", "iteration")) else level
    return Trend(values[0], now, start, level, places, len(values), bad)


def _mean_of(series: list[Means]) -> Means:
    by_epoch: dict[int, list[float]] = {}
    for means in series:
        for epoch, value in means:
            if math.isfinite(value):
                by_epoch.setdefault(epoch, []).append(value)
    return [(epoch, sum(values) / len(values)) for epoch, values in sorted(by_epoch.items())]
