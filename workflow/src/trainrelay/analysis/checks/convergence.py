"""Whether the total loss falls.

The rules, with levels as in `numbers` (start, now, best held; medians of up to a tenth of the series):
divergence: from ten points on (three where each is the mean of an epoch), now is above start by half of
start, or now is twice the best and three quarters of the way back from the best to the start; and by more
than three times the noise, which is the median change from one value to the next in the first half: a
training that begins near its floor only wavers. Not converging: now is not at least 1% below start. Rising
again: now is 10% above the best and a third of the way back.

The shares are ours. Divergence blocks, so it takes more than a warning does; a share of the way back as well
as of the best, since a best near zero doubles easily.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.cross_entropy import negative
from trainrelay.analysis.numbers import (
    EPOCHS_TO_JUDGE,
    FALL,
    best_level,
    finite,
    head_level,
    percent,
    reduction,
    tail_level,
    text,
)
from trainrelay.records import Finding, Severity


@dataclass(frozen=True, slots=True)
class Levels:
    """The total loss in five numbers."""

    metric: str
    first: float
    start: float
    best: float
    now: float
    noise: float
    points: int
    points_to_judge: int  # fewer points are not judged

    @property
    def diverged(self) -> bool:
        clear = 3 * self.noise
        above_start = self.now > self.start + max(0.5 * abs(self.start), clear)
        back = max(abs(self.best), 0.75 * (self.start - self.best), clear)
        blown_up = self.start > self.best and self.now > self.best + back
        return self.points >= self.points_to_judge and (above_start or blown_up)

    @property
    def rising_again(self) -> bool:
        back = max(0.1 * abs(self.best), (self.start - self.best) / 3)
        return self.points >= self.points_to_judge and self.now > self.best + back


def levels(case: Case) -> Levels | None:
    """None if the total loss has fewer than two finite values."""
    if case.total is None:
        return None
    values, few = _judged(case, case.total)
    if len(values) < 2:
        return None
    return Levels(
        case.total,
        values[0],
        head_level(values),
        best_level(values),
        tail_level(values),
        median(abs(after - before) for before, after in pairwise(values[: len(values) // 2 + 1])),
        len(values),
        few,
    )


def _judged(case: Case, total: str) -> tuple[list[float], int]:
    """The logged values, and how many of them are enough; the means of epochs where those are too few."""
    values = finite(case.values(total))
    means = finite([mean for _, mean in case.epoch_means(total)])
    if len(values) < case.points_to_judge and case.rows("epoch") and len(means) >= EPOCHS_TO_JUDGE:
        return means, EPOCHS_TO_JUDGE
    return values, case.points_to_judge


def divergence(case: Case) -> Iterator[Finding]:
    """Critical: neither continue from here nor promote this."""
    found = levels(case)
    if found is None or not found.diverged:
        return
    yield Finding(
        "divergence",
        "critical",
        f"The total loss diverged: from {text(found.start)} over {text(found.best)} at best"
        f" to {text(found.now)} now.",
        metric=found.metric,
        where=case.where(case.train[-1]),
        evidence=_evidence(found),
        advice="Go back to a checkpoint from before the rise and lower the learning rate.",
        blocking=True,
    )


def convergence(case: Case) -> Iterator[Finding]:
    """First -> now, as a share; a warning where it does not fall or rises again."""
    found = levels(case)
    if found is None or found.diverged:
        return
    if found.points < found.points_to_judge:
        few = f"{_dropped(found)} (only {found.points} points to judge by)."
        yield _finding(found, "info", few, enough=False)
    elif reduction(found.start, found.now) < FALL:
        advice = (
            "The learning rate may be too low, or the data wrong: check both, and that the right weights were"
            " loaded."
        )
        message = f"The total loss does not fall: {text(found.start)} at the start, {text(found.now)} now."
        yield _finding(found, "warning", message, advice)
    elif found.rising_again:
        advice = (
            "Check the learning rate and the gradient norm where it turned; keep the checkpoint from there."
        )
        message = f"The total loss rises again: {text(found.best)} at best, {text(found.now)} now."
        yield _finding(found, "warning", message, advice)
    elif bad := case.non_finite(found.metric):
        yield _finding(found, "info", f"{_dropped(found)}{bad}.", enough=False)
    elif negative(case):
        message = f"The total loss went from ~{text(found.first)} to ~{text(found.now)}"
        yield _finding(found, "info", f"{message}, which shows little: it contains a negative cross-entropy.")
    else:
        yield _finding(found, "info", f"Healthy convergence: {_dropped(found)}.")


def _dropped(found: Levels) -> str:
    share = reduction(found.first, found.now)
    change = f"dropped from ~{text(found.first)} to ~{text(found.now)}, a ~{percent(share)} reduction"
    if share < 0:
        change = f"went from ~{text(found.first)} to ~{text(found.now)}"
    return f"the total loss {change}"


def _finding(found: Levels, severity: Severity, message: str, advice: str = "", **more: object) -> Finding:
    message = message[0].upper() + message[1:]
    evidence = {**_evidence(found), **more}
    return Finding("convergence", severity, message, found.metric, None, evidence, advice)


def _evidence(found: Levels) -> dict[str, object]:
    return {
        "first": found.first,
        "start": found.start,
        "best": found.best,
        "now": found.now,
        "reduction": reduction(found.first, found.now),
        "points": found.points,
    }
