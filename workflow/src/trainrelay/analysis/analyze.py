"""Log -> Analysis: run every check, sum up every metric, give the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks import CHECKS, FATAL, UNLESS
from trainrelay.analysis.explain import explanation
from trainrelay.analysis.how_far import how_far
from trainrelay.analysis.knowledge import best_for, of_format
from trainrelay.analysis.progression import progression
from trainrelay.analysis.summary import Point, curve, summary
from trainrelay.analysis.verdict import verdict
from trainrelay.records import Analysis, Expectation, Finding, Log, Phase, Progress, Verdict

PHASES: tuple[Phase, ...] = ("train", "val", "epoch")
ALWAYS = ("train", "val")


def analyze(log: Log, expectation: Expectation | None = None) -> Analysis:
    """What the logs of one training show, compared with what the workflow expects of it, if that is known."""
    knowledge = best_for(log.metrics("train")).over(of_format(log.format))
    case = Case(log, expectation or Expectation(), knowledge)
    fatal = [finding for check in FATAL for finding in check(case)]
    if any(finding.severity == "critical" and finding.check != "progress" for finding in fatal):
        case = replace(case, failed=True)
    every = (*fatal, *(finding for check in CHECKS for finding in check(case)))
    findings = tuple(
        one if one.severity == "info" else replace(one, unless=UNLESS[one.check]) for one in every
    )
    came = how_far(case)
    series = {phase: found for phase in PHASES if (found := _series(log, phase)) or phase in ALWAYS}
    return Analysis(
        format=log.format,
        sources=log.sources,
        segments=max(1, log.restarts + 1),
        untrained=log.segments - max(1, log.restarts + 1),
        by_iteration=case.by_iteration,
        epochs=came.epoch,
        iterations=case.train[-1].step if case.train and not log.epochs_only else 0,
        progress=came,
        metrics={
            phase: {name: summary([value for _, value in points]) for name, points in found.items()}
            for phase, found in series.items()
        },
        findings=findings,
        verdict=verdict(findings),
        total=case.total,
        progression=progression(case),
        setup=dict(log.setup),
        restarts=log.restarts,
        epochs_only=log.epochs_only,
        explanation=explanation(case, findings),
        curves={
            phase: {name: curve(points) for name, points in found.items()} for phase, found in series.items()
        },
    )


def not_judged(sources: Iterable[str], why: str) -> Analysis:
    """Of a finished training whose log has no known format: it is complete, its numbers were not checked."""
    nothing, found = Progress(0, 0, None, None, None, False), (Finding("log", "warning", why),)
    return Analysis("unknown", tuple(sources), 0, 0, 0, nothing, {}, found, Verdict("not judged", why))


def _series(log: Log, phase: Phase) -> Mapping[str, list[Point]]:
    """Every metric of a phase as points, in one pass over the rows."""
    found: dict[str, list[Point]] = {}
    for row in log.rows:
        if row.phase == phase:
            for name, value in row.values.items():
                found.setdefault(name, []).append((row.step, value))
    return found
