"""Which way a validation metric is better, and its value after each epoch."""

from __future__ import annotations

from typing import Literal

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.validation_metric import by_name
from trainrelay.analysis.knowledge import packaged
from trainrelay.records import EpochScore, Expectation, Log

_MODES: dict[int | None, Literal["max", "min"]] = {1: "max", -1: "min"}


def better(metric: str) -> Literal["max", "min"] | None:
    """Whether more or less of a metric is better; None if the knowledge files and its name do not show it."""
    if "loss" in metric.lower():
        return "min"
    known = {found.direction for knowledge in packaged() if (found := knowledge.known(metric))}
    if known:
        return {"up": "max", "down": "min"}.get(str(known.pop())) if len(known) == 1 else None  # type: ignore[return-value]
    return _MODES.get(by_name(metric))


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
