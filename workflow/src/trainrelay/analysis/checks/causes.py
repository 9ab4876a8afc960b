"""What has one cause is one finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import wraps

from trainrelay.analysis.case import Case, Check
from trainrelay.records import Finding

GRAVEST_FIRST = ("critical", "warning", "info")


def as_one(lead: Finding, found: Sequence[Finding]) -> Finding:
    """The finding that leads, with how many more say the same."""
    if len(found) == 1:
        return lead
    message = f"{lead.message.removesuffix('.')}; the same holds for {len(found) - 1} more."
    return replace(
        lead, message=message, evidence={**lead.evidence, "metrics": [one.metric for one in found]}
    )


def one_per_cause(check: Check) -> Check:
    """A check of which the findings on losses that begin at one place become one; on other metrics, too. The
    gravest leads: the total, or the only term beside it, which brought it there, or the shortest name."""

    @wraps(check)
    def grouped(case: Case) -> Iterator[Finding]:
        together, losses = dict[object, list[Finding]](), frozenset(case.losses)
        for finding in check(case):
            together.setdefault((finding.where, finding.metric in losses), []).append(finding)
        for found in together.values():
            found.sort(key=lambda one: (GRAVEST_FIRST.index(one.severity), len(one.metric or "")))
            grave = [one for one in found if one.severity == found[0].severity]
            terms = [one for one in grave if one.metric != case.total]
            totals = [one for one in grave if one.metric == case.total]
            yield as_one((terms if len(terms) == 1 else totals + terms)[0], found)

    return grouped
