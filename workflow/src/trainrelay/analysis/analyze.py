"""Log -> Analysis: run every check, sum up every metric, give the verdict. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from trainrelay.analysis.case import Case, Column
from trainrelay.analysis.checks import CHECKS, FATAL, UNLESS
from trainrelay.analysis.explain import explanation
from trainrelay.analysis.progression import progression
from trainrelay.records import (
    UNKNOWN,
    Analysis,
    Expectation,
    Finding,
    Log,
    MetricSummary,
    Phase,
    Progress,
    Severity,
    Verdict,
    VerdictKind,
)
from trainrelay.text import count

ALWAYS = ("train", "val")  # the phases that an analysis has, be they empty
CURVE_LIMIT, MOST_POINTS = 400, 1200  # of a curve; the more metrics, the fewer each
POINTS = 60_000  # of all curves: a page of UniAD's 128 metrics stays below 2 MB
KINDS: dict[Severity, VerdictKind] = {"critical": "failed", "warning": "warning"}  # the gravest first

Point = tuple[int, float]


def analyze(log: Log, expectation: Expectation | None = None) -> Analysis:
    """What the logs of one training show, compared with what the workflow expects of it, if that is known."""
    case = Case(log, expectation or Expectation())
    fatal = [finding for check in FATAL for finding in check(case)]
    case.failed = any(finding.severity == "critical" and finding.check != "progress" for finding in fatal)
    every = (*fatal, *(finding for check in CHECKS for finding in check(case)))
    findings = tuple(
        one if one.severity == "info" else replace(one, unless=UNLESS[one.check]) for one in every
    )
    series = {phase: found for phase, found in case.columns.items() if found or phase in ALWAYS}
    limit = min(max(POINTS // max(1, sum(map(len, series.values()))), CURVE_LIMIT), MOST_POINTS)
    return Analysis(
        format=log.format,
        sources=log.sources,
        segments=max(1, log.restarts + 1),
        untrained=log.segments - max(1, log.restarts + 1),
        by_iteration=case.by_iteration,
        epochs=case.came.epoch,
        iterations=case.train[-1].step if case.train and not log.epochs_only else 0,
        progress=case.came,
        metrics={
            phase: {name: summary(column) for name, column in found.items()}
            for phase, found in series.items()
        },
        findings=findings,
        verdict=verdict(findings),
        total=case.total,
        progression=progression(case),
        setup=dict(log.setup),
        restarts=log.restarts,
        resumed=log.resumed,
        epochs_only=log.epochs_only,
        step_s=case.step_s,
        explanation=explanation(case, findings),
        curves={
            phase: {name: curve(column, limit) for name, column in found.items()}
            for phase, found in series.items()
        },
    )


def not_judged(sources: Iterable[str], why: str) -> Analysis:
    """Of a finished training whose log has no known format: it is complete, its numbers were not checked."""
    nothing, found = Progress(0, 0, None, None, None, False), (Finding("log", "warning", why),)
    return Analysis(UNKNOWN, tuple(sources), 0, 0, 0, nothing, {}, found, Verdict("not judged", why))


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Any critical finding: failed; else any warning: warning; else healthy. The reason is the message of the
    first finding that decided, or how far the total loss fell."""
    for severity, kind in KINDS.items():
        found = [finding for finding in findings if finding.severity == severity]
        if found:
            more = f" ({count(len(found) - 1, f'more {severity} finding')})" if len(found) > 1 else ""
            return Verdict(kind, found[0].message + more)
    converged = [finding for finding in findings if finding.check == "convergence"]
    return Verdict("healthy", converged[0].message if converged else "No check found anything wrong.")


def summary(column: Column) -> MetricSummary:
    """`min` and `max` leave NaN out; they are NaN where nothing else is there."""
    values = column.values
    numbers = values if column.finite is values else [value for value in values if not math.isnan(value)]
    low, high = min(numbers, default=math.nan), max(numbers, default=math.nan)
    return MetricSummary(values[0], values[-1], low, high, len(values))


def series(log: Log) -> Mapping[Phase, Mapping[str, list[Point]]]:
    """Every value of each metric with its step, where `curves` of an analysis keep some."""
    columns = Case(log, Expectation()).columns
    return {
        phase: {
            name: list(zip((row.step for row in one.rows), one.values, strict=True))
            for name, one in found.items()
        }
        for phase, found in columns.items()
    }


def curve(column: Column, limit: int = CURVE_LIMIT) -> list[Point]:
    """At most so many points: the first, the last, and of each bucket its lowest, highest and first NaN."""
    size, buckets = len(column.values), (limit - 2) // 3
    kept = set(range(size)) if size <= limit else {0, size - 1}
    if size > limit:
        for at in range(buckets):
            kept.update(_notable(column, at * size // buckets, (at + 1) * size // buckets))
    return [(column.rows[index].step, column.values[index]) for index in sorted(kept)]


def _notable(column: Column, start: int, end: int) -> Iterator[int]:
    values = numbers = column.values[start:end]
    if column.finite is not column.values:
        yield from [start + at for at, value in enumerate(values) if math.isnan(value)][:1]
        numbers = [value for value in values if not math.isnan(value)]
    if numbers:
        yield start + values.index(min(numbers))
        yield start + values.index(max(numbers))
