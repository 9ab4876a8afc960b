"""What a training costs per step: steps that became slower, waiting for data, GPU memory that grows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise
from statistics import median, median_low

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import percent, risen_from, text
from trainrelay.records import Finding, Row

MANY_LINES = 20  # to judge by
EDGE = 5  # lines at both ends that are no level
NEAR = 50  # lines on each side of a place, of which the median is a level
SLOWER = 1.3  # times the step time before
WAITING = 0.35  # of the step time
AT_RISK_H = 2.0  # of work between two checkpoints
GROWN = 0.03  # from the half of a training to three quarters, and again to its end


def step_time(case: Case) -> Iterator[Finding]:
    """Whether steps take longer from one line on, at the place that parts the times best."""
    rows, values = _judged(case, "time")
    if not rows or all(before < after for before, after in pairwise(values)):  # a clock
        return
    at = _parting([math.log(value) for value in values])
    before, after = median(values[max(0, at - NEAR) : at]), median(values[at : at + NEAR])
    if min(after, median(values[at:])) > SLOWER * before:
        where, times = case.where(rows[at]), f"{text(before)} s before, {text(after)} s since"
        message = f"Steps take {after / before:.2f} times as long from {where} on: {times}."
        advice = "Look for other jobs on the node, and at its clocks (nvidia-smi -q -d CLOCK)."
        evidence = {"before": before, "now": after}
        yield Finding("step-time", "info", message, "time", where, evidence, advice)


def _parting(values: list[float]) -> int:
    """Where a series falls into two levels with the least squares left."""
    sums, number = list(accumulate(values)), len(values)

    def parted(at: int) -> float:
        left = sums[at - 1]
        return (left / at - (sums[-1] - left) / (number - at)) ** 2 * at * (number - at)

    return max(range(EDGE, number - EDGE), key=parted)


def data_time(case: Case) -> Iterator[Finding]:
    """Whether the usual step waits for data for much of its time."""
    rows, waits = _judged(case, "data_time")
    steps = zip(waits, (row.values.get("time", 0.0) for row in rows), strict=True)
    share = median([wait / whole for wait, whole in steps if 0 < whole < math.inf] or [0.0])
    if share > WAITING:
        message = f"{percent(share)} of a step's time is waiting for data."
        advice = "Use more workers per GPU (and as many CPU cores), or faster storage."
        yield Finding("data-time", "info", message, "data_time", None, {"share": share}, advice)


def memory(case: Case) -> Iterator[Finding]:
    """A warning where GPU memory still grows in the third quarter and in the last one."""
    rows, values = _judged(case, "memory")
    half, late, end = (values[len(values) * part // 4 - 1] if rows else 0.0 for part in (2, 3, 4))
    if late <= (1 + GROWN) * half or end <= (1 + GROWN) * late:
        return
    settled = values[len(values) // 10]
    begun = risen_from(values, settled + GROWN * (end - settled))
    where = case.where(rows[max(0, begun - 1)])
    message = f"GPU memory grows: {text(settled)} MB until {where}, {text(end)} MB now."
    advice = "Look for tensors that are kept from step to step, as losses summed up without .item() are."
    yield Finding("memory", "warning", message, "memory", where, {"settled": settled, "now": end}, advice)


def checkpoint_cadence(case: Case) -> Iterator[Finding]:
    """How much work a crash costs, where the log shows its checkpoints and the time of a step."""
    rows, times = _judged(case, "time")
    saves = [m for m in case.log.markers if m.kind == "saved" and not case.expectation.saves_steps]
    steps = {m.iteration or (m.epoch or 0) * (case.log.iters_per_epoch or 0) for m in saves}
    later = sorted(step for step in steps if rows and step > rows[0].step)
    begun = rows[0].step - (case.log.interval or 0) if rows else 0
    apart = median_low([after - before for before, after in pairwise([begun, *later])]) if later else 0
    hours = apart * median(times or [0.0]) / 3600
    if hours > AT_RISK_H:
        message = (
            f"Checkpoints are {apart:,} iterations apart, {text(hours)} h of work that a crash may cost."
        )
        advice = f"Save one every {max(1, int(apart / hours)):,} iterations, about an hour."
        evidence = {"iterations": apart, "hours": hours}
        yield Finding("checkpoint-cadence", "info", message, None, None, evidence, advice)


def _judged(case: Case, metric: str) -> tuple[list[Row], list[float]]:
    """The rows that have a value of use, and these; none where they are too few."""
    points = [(row, value) for row, value in case.points(metric) if 0 < value < math.inf]
    enough = points if len(points) >= MANY_LINES else []
    return [row for row, _ in enough], [value for _, value in enough]
