"""mmdet's total is the sum of every key with "loss" in its name: a free check for lost terms."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainrelay.diagnose.case import Case
from trainrelay.diagnose.numbers import text
from trainrelay.records import Finding, Row

FIRST_ROWS = 20
ROUNDING = 0.5e-4  # of each printed number
RELATIVE = 2e-5


def sum_identity(case: Case) -> Iterator[Finding]:
    """A warning where the sum held at first and then does not; trainers that never kept it are left alone."""
    rows = [row for row in case.train if "loss" in row.values]
    rows = [row for row in rows if len(_terms(row)) > 1 and math.isfinite(row.values["loss"])]
    if not rows or not all(_holds(row) for row in rows[:FIRST_ROWS]):
        return
    broken = [row for row in rows[FIRST_ROWS:] if not _holds(row)]
    if broken:
        yield _broken(case, broken)


def _terms(row: Row) -> list[float]:
    return [value for name, value in row.values.items() if "loss" in name and name != "loss"]


def _holds(row: Row) -> bool:
    terms = _terms(row)
    total = row.values["loss"]
    allowed = ROUNDING * (len(terms) + 1) + RELATIVE * abs(total)
    return not abs(sum(terms) - total) > allowed


def _broken(case: Case, broken: list[Row]) -> Finding:
    row = broken[0]
    total, terms = row.values["loss"], sum(_terms(row))
    return Finding(
        "sum-identity",
        "warning",
        f"From {case.where(row)} on the total loss ({text(total)}) is not the sum of its"
        f" terms ({text(terms)}); {len(broken)} rows differ.",
        metric="loss",
        where=case.where(row),
        evidence={"total": total, "sum": terms, "rows": len(broken)},
        advice="A term was lost or added: compare the names on this line with those on the line before.",
    )
