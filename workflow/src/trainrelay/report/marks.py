"""What happened to a training, as places on its curves, and when its steps were done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from trainrelay.analysis import naming
from trainrelay.records import Analysis, AttemptRecord, StageReport
from trainrelay.report.details import last_seen, steps_per_epoch, trained_s
from trainrelay.report.formatting import is_usable, learning_rate

DROP = 0.6  # a learning rate that falls at once to this part of what it was, or lower, has dropped
SAME = 0.01  # what falls by more without a drop is smooth, as a cosine is
MOST_RESTARTS = 50  # of a log, the last ones; the card has their number
MOST_DROPS = 12  # a schedule that drops more often is no schedule of steps


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a step; what was redone has a range, `step` to `until`."""

    kind: Literal["restart", "redone", "backend", "rate"]
    step: int
    text: str
    until: int | None = None


def of(stage: StageReport) -> tuple[Mark, ...]:
    """Restarts, what they redid, changes of the backend and drops of the learning rate, by step."""
    found = [*_restarts(stage), *(_drops(stage.analysis) if stage.analysis else ())]
    if stage.log_alone and stage.analysis:
        found += _restarts_of_log(stage.analysis)
    return tuple(sorted(dict.fromkeys(found), key=lambda mark: mark.step))


def _spans(stage: StageReport) -> Iterator[tuple[AttemptRecord, int, int]]:
    """Each attempt with the steps that it resumed at and was last seen at; 0 where that is not known."""
    found = stage.analysis
    per_epoch = (steps_per_epoch(found) if found else None) or 0
    for attempt in stage.attempts:
        seen = (attempt.last_epoch or 1) - 1, attempt.last_iteration or 0
        start, end = (
            epochs * per_epoch + (iterations if per_epoch != 1 else 0)
            for epochs, iterations in (attempt.began, seen)
        )
        yield attempt, start, found.iterations if found and attempt.ended_s is None else end


def _restarts(stage: StageReport) -> Iterator[Mark]:
    reached, before = 0, None
    for attempt, at, end in _spans(stage):
        if before and reached > at:
            text = f"redone: attempt {before.number} had come to {last_seen(before)}"
            yield Mark("redone", at, text, reached)
        if at:
            yield Mark("restart", at, f"attempt {attempt.number} resumed here")
        if before and attempt.backend != before.backend and at + reached:
            yield Mark("backend", at, f"backend {before.backend} → {attempt.backend}")
        reached, before = end, attempt


def _restarts_of_log(analysis: Analysis) -> Iterator[Mark]:
    unit = "epochs" if analysis.epochs_only else "iterations"
    for at, until in analysis.resumed[-MOST_RESTARTS:]:
        if until > at:
            yield Mark("redone", at, f"{unit} {at + 1} to {until} were done again", until)
        if at:
            yield Mark("restart", at, "a later start resumed here")


def _drops(analysis: Analysis) -> list[Mark]:
    curves = analysis.curves.get("train", {})
    curve = next((curves[name] for name in curves if naming.is_learning_rate(name) and curves[name]), [])
    falls = [
        (step, before, value)
        for (_, before), (step, value) in pairwise(curve)
        if is_usable(before) and value < (1 - SAME) * before
    ]
    drops = [(step, before, value) for step, before, value in falls if 0 < value <= DROP * before]
    if len(drops) < len(falls) or len(drops) > MOST_DROPS:
        return []
    words = "learning rate {} → {}"
    return [Mark("rate", step, words.format(*map(learning_rate, values))) for step, *values in drops]


def clock(stage: StageReport) -> Iterator[tuple[int, float, int, float]]:
    """Of each attempt the steps that it resumed at and came to, each with the hours since the first start; of
    a log alone its ends, by the median time."""
    if stage.log_alone and stage.analysis and (seconds := trained_s(stage.analysis)):
        yield 0, 0.0, stage.analysis.iterations, seconds / 3600
    pace = stage.analysis.metrics.get("train", {}).get("time") if stage.analysis else None
    for attempt, start, end in _spans(stage):
        at_its_pace_s = (end - start) * pace.last if pace and attempt.ended_s is None else 0.0
        seconds = attempt.seconds or at_its_pace_s
        if end > start and seconds > 0:
            begun_s = attempt.started_s - stage.attempts[0].started_s
            yield start, begun_s / 3600, end, (begun_s + seconds) / 3600
