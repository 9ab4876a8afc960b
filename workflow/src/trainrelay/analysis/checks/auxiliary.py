"""Losses that belong together (docs/judgement.md): those of the decoder layers, of which later ones refine
earlier ones, and those of coordinates and classes, which should fall together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from trainrelay.analysis.case import Case, kept
from trainrelay.analysis.checks.validation_metric import measured
from trainrelay.analysis.numbers import EPOCHS_TO_JUDGE, FALL, NOTICEABLE, percent, reduction, text
from trainrelay.records import Finding

CLEARLY = 0.2  # of the layer before: meant to be above chance


@dataclass(frozen=True, slots=True)
class Layers:
    """One loss by decoder layer, the last layer at the end: epoch means, first and latest."""

    base: str
    names: tuple[str, ...]
    first: tuple[float, ...]
    now: tuple[float, ...]
    epochs: int

    def out_of_order(self) -> list[tuple[int, float]]:
        """The layers that are clearly worse than the one before, and by how much."""
        steps = enumerate(pairwise(self.now), start=1)
        worse = [(layer, after - before, abs(before)) for layer, (before, after) in steps]
        return [(layer, by) for layer, by, size in worse if by > max(NOTICEABLE, CLEARLY * size)]

    def not_falling(self) -> list[str]:
        """The earlier layers' losses that stay where they were."""
        if self.epochs < EPOCHS_TO_JUDGE:
            return []
        courses = list(zip(self.names, self.first, self.now, strict=True))[:-1]
        large = [each for each in courses if max(each[1:]) > NOTICEABLE]
        return [name for name, first, now in large if reduction(first, now) < FALL]


@kept
def layers_of(case: Case) -> list[Layers]:
    """Every loss that is logged per layer and is not zero throughout."""
    found = [_layers(case, base, names) for base, names in case.layered.items()]
    return [one for one in found if one is not None and any(one.now)]


def _layers(case: Case, base: str, names: tuple[str, ...]) -> Layers | None:
    means = [[point for point in case.epoch_means(name) if math.isfinite(point[1])] for name in names]
    if not all(means):
        return None
    first, now = (tuple(points[at][1] for points in means) for at in (0, -1))
    return Layers(base, names, first, now, min(len(points) for points in means))


def auxiliary(case: Case) -> Iterator[Finding]:
    """One warning for layers out of order, one for those that do not fall; else their values."""
    found = layers_of(case)
    disordered = [one for one in found if one.out_of_order()]
    judged = (one for one in found if not measured(case, case.meaning(one.base).group))
    stuck = [name for one in judged for name in one.not_falling()]
    if disordered:
        yield _disordered(disordered)
    if stuck:
        yield _stuck(found, stuck)
    if found and not disordered and not stuck:
        yield _fine(case, found)


def _disordered(found: list[Layers]) -> Finding:
    one = max(found, key=lambda each: max(by for _, by in each.out_of_order()))
    layer, _ = max(one.out_of_order(), key=lambda each: each[1])
    others = [each.base for each in found if each is not one]
    more = f"; {', '.join(others)} too" if others else ""
    return Finding(
        "auxiliary",
        "warning",
        f"The decoder layers are out of order: {one.base} is {text(one.now[layer])} at layer {layer}, but"
        f" {text(one.now[layer - 1])} at layer {layer - 1} before it{more}.",
        metric=one.names[layer],
        evidence={"layer": layer, "now": list(one.now), "out_of_order": [each.base for each in found]},
        advice="Later layers refine earlier ones: check how the auxiliary losses are weighted and matched,"
        " and that the last layer's outputs are the ones that are used.",
    )


def _stuck(found: list[Layers], stuck: list[str]) -> Finding:
    one = next(each for each in found if stuck[0] in each.names)
    at = one.names.index(stuck[0])
    more = f"; {len(stuck) - 1} more do not either" if len(stuck) > 1 else ""
    return Finding(
        "auxiliary",
        "warning",
        f"{stuck[0]} does not decrease: {text(one.first[at])} -> {text(one.now[at])}{more}.",
        metric=stuck[0],
        evidence={"first": one.first[at], "now": one.now[at], "not_falling": stuck},
        advice="All auxiliary losses should fall: check that gradients reach the earlier layers.",
    )


def _fine(case: Case, found: list[Layers]) -> Finding:
    count, layers = sum(len(one.names) - 1 for one in found), len(found[0].names)
    said = "; ".join(
        f"{one.base} {text(one.now[0])} at layer 0, {text(one.now[-1])} at the last" for one in found
    )
    judged = all(one.epochs >= EPOCHS_TO_JUDGE for one in found)
    fell = f"All {count} auxiliary losses fall, and no" if judged and not case.failed else "No"
    return Finding(
        "auxiliary",
        "info",
        f"{fell} layer is clearly worse than the one before ({said}).",
        evidence={"layers": layers, "auxiliary": count, "enough": judged},
    )


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
