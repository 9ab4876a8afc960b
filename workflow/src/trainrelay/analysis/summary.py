"""Per metric: first, last, extremes, and a curve of bounded length that keeps what matters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from trainrelay.records import MetricSummary

BUCKETS = 132  # three points of each, and the first and last point: at most 398
CURVE_LIMIT = 400

Point = tuple[int, float]


def summary(values: Sequence[float]) -> MetricSummary:
    """`min` and `max` leave NaN out; they are NaN where nothing else is there."""
    numbers = [value for value in values if not math.isnan(value)] or [math.nan]
    return MetricSummary(values[0], values[-1], min(numbers), max(numbers), len(values))


def curve(points: Sequence[Point]) -> list[Point]:
    """At most CURVE_LIMIT points: of each bucket its lowest, its highest and its first NaN."""
    if len(points) <= CURVE_LIMIT:
        return list(points)
    kept = {0, len(points) - 1}
    for at in range(BUCKETS):
        kept.update(_notable(points, at * len(points) // BUCKETS, (at + 1) * len(points) // BUCKETS))
    return [points[index] for index in sorted(kept)]


def _notable(points: Sequence[Point], start: int, end: int) -> Iterator[int]:
    numbers = [index for index in range(start, end) if not math.isnan(points[index][1])]
    if numbers:
        yield min(numbers, key=lambda index: points[index][1])
        yield max(numbers, key=lambda index: points[index][1])
    if len(numbers) < end - start:
        yield next(index for index in range(start, end) if math.isnan(points[index][1]))
