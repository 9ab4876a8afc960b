"""Which way a validation metric is better, and its value after each epoch."""

from __future__ import annotations

from typing import Literal

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.validation_metric import by_name
from trainrelay.analysis.knowledge import packaged
from trainrelay.records import EpochScore, Expectation, Log


def better(metric: str) -> Literal["max", "min"] | None:
    """Whether more or less of a metric is better; None if neither a knowledge file nor its name shows it."""
    known = {found.direction for knowledge in packaged() if (found := knowledge.known(metric))}
    if known == {"up"} or (not known and by_name(metric) == 1):
        return "max"
    falls = "loss" in metric.lower() or by_name(metric) == -1
    return "min" if known == {"down"} or (not known and falls) else None


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
