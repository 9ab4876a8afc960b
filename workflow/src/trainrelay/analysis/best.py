"""The values of a validation by epoch."""

from __future__ import annotations

from trainrelay.analysis.case import Case
from trainrelay.records import EpochScore, Expectation, Log


def evaluations(log: Log) -> dict[str, list[EpochScore]]:
    """Each metric of the validation, by epoch: of one that was evaluated twice, as it was the last time."""
    case = Case(log, Expectation())
    last = {
        name: {row.epoch: value for row, value in case.points(name, "val")} for name in case.columns["val"]
    }
    return {
        name: [EpochScore(epoch=epoch, value=value) for epoch, value in sorted(found.items())]
        for name, found in last.items()
    }
