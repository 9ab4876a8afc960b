"""Scaled losses against their unscaled twins: their ratio is the coefficient, and stays it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from trainrelay.analysis.case import Case
from trainrelay.analysis.naming import UNSCALED
from trainrelay.analysis.numbers import NOTICEABLE, text
from trainrelay.records import Finding, Phase, Row

ROUNDING = 0.51e-4  # of each printed number: half of the fourth decimal, and a little
RELATIVE = 1e-3  # of the product: float32 has seven digits, means of many values fewer
PHASES: tuple[Phase, ...] = ("train", "epoch", "val")

Pair = tuple[Row, float, float]  # where, scaled, unscaled


@dataclass(frozen=True, slots=True)
class Scale:
    """The coefficient of one loss, as its values show it and as the config says (None: it does not)."""

    name: str
    ratio: float
    configured: tuple[str, float] | None
    pairs: list[Pair]

    def off(self, coefficient: float) -> list[Pair]:
        """The places where a coefficient does not explain the scaled value, beyond rounding."""
        return [
            (row, scaled, raw)
            for row, scaled, raw in self.pairs
            if abs(scaled - coefficient * raw)
            > ROUNDING * (1 + abs(coefficient)) + RELATIVE * abs(coefficient * raw)
        ]


def scales(case: Case) -> list[Scale]:
    """One per loss that has an unscaled twin and is not zero."""
    scaled = [twin.removesuffix(UNSCALED) for twin in sorted(case.twins) if "loss" in twin]
    return [found for name in scaled if (found := _scale(case, name))]


def _scale(case: Case, name: str) -> Scale | None:
    pairs = [
        (row, row.values[name], row.values[name + UNSCALED])
        for phase in PHASES
        for row in case.rows(phase)
        if name in row.values and name + UNSCALED in row.values
    ]
    pairs = [pair for pair in pairs if math.isfinite(pair[1]) and math.isfinite(pair[2])]
    ratios = [scaled / raw for _, scaled, raw in pairs if abs(raw) > NOTICEABLE]
    return Scale(name, median(ratios), case.coefficient(name), pairs) if ratios else None


def scaling(case: Case) -> Iterator[Finding]:
    """A warning per cause: a ratio that changes, one that is not the configured coefficient."""
    found = scales(case)
    changing = [one for one in found if one.off(one.ratio)]
    wrong = [
        one for one in found if one not in changing and one.configured and len(one.off(one.configured[1])) > 0
    ]
    if changing:
        yield _changing(case, changing)
    if wrong:
        yield _wrong(wrong)


def _changing(case: Case, found: list[Scale]) -> Finding:
    one = found[0]
    row, scaled, raw = one.off(one.ratio)[0]
    return Finding(
        "scaling",
        "warning",
        f"The ratio of {one.name} to its unscaled twin changes: about {text(one.ratio)}, but"
        f" {text(scaled)} to {text(raw)} at {case.where(row)}{_more(found)}.",
        metric=one.name,
        where=case.where(row),
        evidence={"ratio": one.ratio, "scaled": scaled, "unscaled": raw, "places": len(one.off(one.ratio))},
        advice="A coefficient that is scheduled does that; if none is, look for terms that are added twice.",
    )


def _wrong(found: list[Scale]) -> Finding:
    one = found[0]
    name, value = one.configured or ("", 0.0)
    return Finding(
        "scaling",
        "warning",
        f"{one.name} is {text(one.ratio)} times its unscaled twin, but {name} is"
        f" {text(value)}{_more(found)}.",
        metric=one.name,
        evidence={"ratio": one.ratio, "configured": value, "argument": name},
        advice=f"Check which value of {name} the losses are weighted with.",
    )


def _more(found: list[Scale]) -> str:
    return f"; the same holds for {len(found) - 1} more" if len(found) > 1 else ""
