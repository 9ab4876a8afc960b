"""What must add up, a free check for lost terms: a scaled loss is its coefficient times its unscaled twin,
and the total the sum of its terms (mmdet: every key with "loss" in its name; DETR: every scaled one), for
values of one iteration and for means, not for medians."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from trainrelay.analysis.case import Case, kept
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


@kept
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
    off = one.off(one.ratio)
    row, scaled, raw = off[0]
    rows = [pair[0] for pair in one.pairs]
    if row is rows[0]:  # the usual ratio came later: where it begins
        others = {id(pair[0]) for pair in off}
        row = next((each for each in rows if id(each) not in others), row)
    return Finding(
        "scaling",
        "warning",
        f"The ratio of {one.name} to its unscaled twin changes at {case.where(row)}: it is about"
        f" {text(one.ratio)}, but {text(scaled)} to {text(raw)} at {case.where(off[0][0])}{_more(found)}.",
        metric=one.name,
        where=case.where(row),
        evidence={"ratio": one.ratio, "scaled": scaled, "unscaled": raw, "places": len(off)},
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


FIRST_ROWS = 20  # enough to see that the trainer keeps the sum
FIRST_EPOCHS = 2  # where a row is an epoch's mean
SUM_ROUNDING = 0.5e-4  # of each printed number
SUM_RELATIVE = 2e-5  # of the total: float32 has seven digits, sums of many terms fewer


def sum_identity(case: Case) -> Iterator[Finding]:
    """A warning where the sum held at first and then does not; trainers that never kept it are left alone."""
    if len(case.term_names) < 2:
        return
    rows = [row for row in rows_of_means(case) if math.isfinite(row.values.get(case.total or "", math.nan))]
    rows = [row for row in rows if sum(case.are_terms(tuple(row.values))) > 1]
    first = FIRST_EPOCHS if case.from_zero else FIRST_ROWS
    kept = bool(rows) and all(holds(case, row) for row in rows[:first])
    if kept and (broken := [row for row in rows[first:] if not holds(case, row)]):
        yield _broken(case, broken)


def rows_of_means(case: Case) -> tuple[Row, ...]:
    """The rows whose terms add up to their total, if the trainer keeps that."""
    return case.rows("epoch") if case.medians else case.train


def holds(case: Case, row: Row) -> bool:
    """Whether a row's terms add up to its total, to the rounding of printed numbers."""
    terms, total = case.terms(row), row.values[case.total or ""]
    allowed = SUM_ROUNDING * (len(terms) + 1) + SUM_RELATIVE * abs(total)
    return not abs(sum(terms.values()) - total) > allowed


def _broken(case: Case, broken: list[Row]) -> Finding:
    row = broken[0]
    total, terms = row.values[case.total or ""], sum(case.terms(row).values())
    return Finding(
        "sum-identity",
        "warning",
        f"From {case.where(row)} on the total loss ({text(total)}) is not the sum of its"
        f" terms ({text(terms)}); {len(broken)} rows differ.",
        metric=case.total,
        where=case.where(row),
        evidence={"total": total, "sum": terms, "rows": len(broken)},
        advice="A term was lost or added: compare the names on this line with those on the line before.",
    )
