"""Whether the descent of the total loss slows down."""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.convergence import is_flat, levels
from trainrelay.analysis.numbers import STILL_EARLY, head_level, percent, reduction, tail_level, text
from trainrelay.records import Finding

POINTS_TO_JUDGE = 20  # so that a third of them has a level
SLOWED = 0.25  # of the earlier slope
FLAT = 0.005  # of the loss, over the last third: half of what counts as a fall


def plateau(case: Case) -> Iterator[Finding]:
    """The last third's descent against the part before: info, or a warning if it is flat too early."""
    found = levels(case)
    values = case.column(case.total).finite if case.total else []
    if found is None or found.diverged or len(values) < POINTS_TO_JUDGE or is_flat(case, found):
        return
    cut = len(values) - len(values) // 3
    start, middle, now = head_level(values), tail_level(values[:cut]), tail_level(values)
    early, late = (start - middle) / cut, (middle - now) / (len(values) - cut)
    if early <= 0 or late < 0 or late > SLOWED * early:
        return
    fraction = case.came.fraction
    flat = reduction(middle, now) < FLAT and fraction is not None and fraction < STILL_EARLY
    yield Finding(
        "plateau",
        "warning" if flat else "info",
        f"The descent slowed: {text(start)} -> {text(middle)} before, {text(middle)} -> {text(now)} over the"
        f" last third, {percent(late / early)} of the earlier slope"
        + (f", with {percent(1 - (fraction or 0))} of the training to go." if flat else "."),
        metric=case.total,
        evidence={"start": start, "middle": middle, "now": now, "slope_ratio": late / early},
        advice="Consider whether the remaining epochs are worth their time, or a higher learning rate."
        if flat
        else "",
    )
