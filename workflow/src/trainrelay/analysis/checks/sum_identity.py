"""mmdet's total is the sum of every key with "loss" in its name, DETR's that of every scaled one: a free
check for lost terms. It holds for values of one iteration and for means, not for medians."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import text
from trainrelay.records import Finding, Row

FIRST_ROWS = 20  # enough to see that the trainer keeps the sum
FIRST_EPOCHS = 2  # where a row is an epoch's mean
ROUNDING = 0.5e-4  # of each printed number
RELATIVE = 2e-5  # of the total: float32 has seven digits, sums of many terms fewer


def sum_identity(case: Case) -> Iterator[Finding]:
    """A warning where the sum held at first and then does not; trainers that never kept it are left alone."""
    if len(case.term_names) < 2:
        return
    rows = [row for row in rows_of_means(case) if math.isfinite(row.values.get(case.total or "", math.nan))]
    rows = [row for row in rows if len(case.term_names & row.values.keys()) > 1]
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
    allowed = ROUNDING * (len(terms) + 1) + RELATIVE * abs(total)
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
