"""Two kinds of losses that should fall together: coordinates and classes (docs/judgement.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.validation_metric import measured
from trainrelay.analysis.numbers import EPOCHS_TO_JUDGE, FALL, percent, reduction, text
from trainrelay.records import Finding

CLEAR_FALL = 0.2  # of the start: meant to be far above chance


@dataclass(frozen=True, slots=True)
class Side:
    """The sum of a group's scaled losses in the first and the latest epoch."""

    group: str
    first: float
    now: float
    epochs: int

    @property
    def fell(self) -> float:
        """By which share of its start."""
        return reduction(self.first, self.now)


def balance(case: Case) -> Iterator[Finding]:
    """Shares of both sides, first -> now; a warning where one is learnt at the other's cost."""
    sides = [side for group in case.knowledge.balance if (side := _side(case, group))]
    if len(sides) != 2 or any(value <= 0 for side in sides for value in (side.first, side.now)):
        return  # shares of negative losses say nothing
    slow, fast = sorted(sides, key=lambda side: side.fell)
    uneven = (
        fast.fell >= CLEAR_FALL
        and slow.fell < FALL
        and min(side.epochs for side in sides) >= EPOCHS_TO_JUDGE
        and not measured(case, slow.group)
    )
    yield Finding(
        "balance",
        "warning" if uneven else "info",
        _uneven(slow, fast) if uneven else _shares(*sides),
        evidence={
            f"{side.group.lower()}_{word}": value
            for side in sides
            for word, value in (("first", side.first), ("now", side.now))
        },
        advice=f"Give the {slow.group.lower()} losses a larger coefficient, or the others a smaller one."
        if uneven
        else "",
    )


def _side(case: Case, group: str) -> Side | None:
    names = [name for name, one in case.meanings.items() if one.group == group and one.loss]
    means = [dict(case.epoch_means(name)) for name in names]
    epochs = sorted(set.intersection(*map(set, means))) if means else []
    sums = [total for epoch in epochs if math.isfinite(total := sum(one[epoch] for one in means))]
    return Side(group, sums[0], sums[-1], len(sums)) if sums else None


def _uneven(slow: Side, fast: Side) -> str:
    way = "rise" if slow.fell <= -FALL else "stall"
    return (
        f"The {fast.group.lower()} losses fall ({text(fast.first)} -> {text(fast.now)}) while the"
        f" {slow.group.lower()} losses {way} ({text(slow.first)} -> {text(slow.now)})."
    )


def _shares(one: Side, other: Side) -> str:
    first, now = one.first + other.first, one.now + other.now
    said = [
        f"{side.group.lower()} {percent(side.first / first)} -> {percent(side.now / now)}"
        f" ({text(side.first)} -> {text(side.now)})"
        for side in (one, other)
    ]
    return f"Shares of the loss: {', '.join(said)}."
