"""A metric of a log, as the tests of readers compare it."""

from __future__ import annotations

from trainrelay.records import Log, Phase


def series(log: Log, metric: str, phase: Phase = "train") -> tuple[list[int], list[float]]:
    """Steps and values, in order."""
    rows = [row for row in log.rows if row.phase == phase and metric in row.values]
    return [row.step for row in rows], [row.values[metric] for row in rows]


def metrics_of(log: Log, phase: Phase = "train") -> list[str]:
    """Every metric of a phase, in the order of first appearance."""
    return list(dict.fromkeys(name for row in log.rows if row.phase == phase for name in row.values))
