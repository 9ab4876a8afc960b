"""What a training costs per step: steps that became slower, waiting for data, GPU memory that grows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate
from statistics import median

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import percent, text
from trainrelay.records import Finding, Row

MANY_LINES = 20  # to judge by
EDGE = 5  # lines at both ends that are no level of their own
NEAR = 50  # lines on each side of a place, of which the median is a level
SLOWER = 1.3  # times the step time before
WAITING = 0.35  # of the step time
GROWN = 0.03  # from the half of a training to three quarters, and again to its end


def step_time(case: Case) -> Iterator[Finding]:
    """A warning where steps take longer from one line on, at the place that parts the times best."""
    points = _positive(case, "time")
    if len(points) < MANY_LINES:
        return
    at = _parting([math.log(value) for _, value in points])
    values = [value for _, value in points]
    before, after = median(values[max(0, at - NEAR) : at]), median(values[at : at + NEAR])
    if min(after, median(values[at:])) > SLOWER * before:
        row = points[at][0]
        yield Finding(
            "step-time",
            "warning",
            f"Steps take {after / before:.2f} times as long from {case.where(row)} on:"
            f" {text(before)} s before, {text(after)} s since.",
            metric="time",
            where=case.where(row),
            evidence={"before": before, "now": after},
            advice="Look for other jobs on the node, and at its clocks (nvidia-smi -q -d CLOCK).",
        )


def _parting(values: list[float]) -> int:
    """Where a series falls into two levels with the least squares left."""
    sums, number = list(accumulate(values)), len(values)

    def parted(at: int) -> float:
        left = sums[at - 1]
        return (left / at - (sums[-1] - left) / (number - at)) ** 2 * at * (number - at)

    return max(range(EDGE, number - EDGE), key=parted)


def data_time(case: Case) -> Iterator[Finding]:
    """A warning where the usual step waits for data for much of its time."""
    waits = [(value, row.values.get("time", 0.0)) for row, value in _positive(case, "data_time")]
    shares = [wait / whole for wait, whole in waits if 0 < whole < math.inf]
    if len(shares) >= MANY_LINES and (share := median(shares)) > WAITING:
        yield Finding(
            "data-time",
            "warning",
            f"{percent(share)} of a step's time is waiting for data.",
            metric="data_time",
            evidence={"share": share},
            advice="Use more workers per GPU (and as many CPU cores), or faster storage.",
        )


def _positive(case: Case, metric: str) -> list[tuple[Row, float]]:
    """The rows with a value of use."""
    return [(row, value) for row, value in case.points(metric) if 0 < value < math.inf]


def memory(case: Case) -> Iterator[Finding]:
    """A warning where GPU memory still grows in the second half and in the last quarter."""
    points = _positive(case, "memory")
    if len(points) < MANY_LINES:
        return
    values = [value for _, value in points]
    half, late, end = (values[len(values) * quarter // 4 - 1] for quarter in (2, 3, 4))
    if late <= (1 + GROWN) * half or end <= (1 + GROWN) * late:
        return
    settled = values[len(values) // 10]
    begun = max(at for at, value in enumerate(values) if value <= settled + GROWN * (end - settled))
    row = points[begun][0]
    yield Finding(
        "memory",
        "warning",
        f"GPU memory grows: {text(settled)} MB until {case.where(row)}, {text(end)} MB now.",
        metric="memory",
        where=case.where(row),
        evidence={"settled": settled, "now": end},
        advice="Look for tensors that are kept from step to step, as losses summed up without .item() are.",
    )
