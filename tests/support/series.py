"""A metric of a log, as the tests of readers compare it."""

from __future__ import annotations

from trainrelay.records import Log, Phase


def series(log: Log, metric: str, phase: Phase = "train") -> tuple[list[int], list[float]]:
    """Steps and values, in order."""
    rows = [row for row in log.rows if row.phase == phase and metric in row.values]
    return [row.step for row in rows], [row.values[metric] for row in rows]
