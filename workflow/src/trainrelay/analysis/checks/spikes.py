"""Sudden peaks of the total loss."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from statistics import median

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import count, text
from trainrelay.records import Finding, Row

WINDOW = 25  # values before a place: few enough to follow the descent
FEWEST = 5  # values before a place, to know what is usual there
HEIGHT = 2.0  # times the median before
SPREAD = 10.0  # times the median distance from that median
MANY = 3  # one or two are worth a note only
SHARE = 0.01  # of all lines, from which on they are no rare batches
HIGH = 10.0  # times what is usual: many of them are no rare batches either

Spike = tuple[Row, float, float]  # where, value, what was usual


def spikes(case: Case) -> Iterator[Finding]:
    """Values far above those before them: info for a few, a warning where they come often."""
    found = list(_spikes(case.points(case.total))) if case.total else []
    if not found:
        return
    row, value, usual = max(found, key=lambda spike: spike[1] / spike[2])
    often = len(found) >= SHARE * len(case.train) or value >= HIGH * usual
    yield Finding(
        "spikes",
        "warning" if len(found) >= MANY and often else "info",
        f"{count(len(found), 'loss spike')}; the highest is {text(value)} at {case.where(row)},"
        f" where {text(usual)} was usual.",
        metric=case.total,
        where=case.where(row),
        evidence={"count": len(found), "highest": value, "usual": usual},
        advice="Look for broken samples and at the gradient norm there; a lower clip value dampens spikes.",
    )


def _spikes(points: list[tuple[Row, float]]) -> Iterator[Spike]:
    before: deque[float] = deque(maxlen=WINDOW)
    for row, value in points:
        if len(before) >= FEWEST and value > 0:
            usual = median(before)
            high = usual > 0 and value > HEIGHT * usual
            if high and value > usual + SPREAD * median(abs(one - usual) for one in before):
                yield row, value, usual
        if not math.isnan(value):  # it would spoil the median
            before.append(value)
