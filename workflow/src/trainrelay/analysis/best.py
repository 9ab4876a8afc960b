"""The values of a validation by epoch or iteration."""

from __future__ import annotations

from trainrelay.analysis.case import Case
from trainrelay.records import Expectation, Log, Score, Unit


def evaluations(log: Log, unit: Unit) -> dict[str, list[Score]]:
    """Each metric of the validation, in order: of what was evaluated twice, as it was the last time."""
    case = Case(log, Expectation())
    last = {
        name: {row.epoch if unit == "epoch" else row.step: value for row, value in case.points(name, "val")}
        for name in case.columns["val"]
    }
    return {
        name: [Score(unit=unit, done=done, value=value) for done, value in sorted(found.items())]
        for name, found in last.items()
    }
