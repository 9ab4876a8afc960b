"""What happened to a training, as places on its curves, and when its steps were done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from trainrelay.analysis import naming
from trainrelay.records import Analysis, AttemptRecord, StageReport
from trainrelay.report.details import last_seen, steps_per_epoch
from trainrelay.report.formatting import is_usable, learning_rate

DROP = 0.6  # a learning rate that falls at once to this part of what it was, or lower, has dropped
SAME = 0.01  # it was constant before: a cosine or linear schedule falls at each step
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
    return tuple(sorted(dict.fromkeys(found), key=lambda mark: mark.step))


def _restarts(stage: StageReport) -> Iterator[Mark]:
    per_epoch = (steps_per_epoch(stage.analysis) if stage.analysis else None) or 0
    for before, attempt in pairwise([None, *stage.attempts]):
        assert attempt
        at, reached = _resumed_at(attempt, per_epoch), _reached(before, per_epoch) if before else 0
        if before and reached > at:
            yield Mark(
                "redone", at, f"redone: attempt {before.number} had come to {last_seen(before)}", reached
            )
        if at:
            yield Mark("restart", at, f"attempt {attempt.number} resumed here")
        if before and attempt.backend != before.backend:
            yield Mark("backend", at, f"backend {before.backend} → {attempt.backend}")


def _resumed_at(attempt: AttemptRecord, per_epoch: int) -> int:
    """The step that an attempt resumed at; 0 where it began, or where the step is not known."""
    if attempt.resumed_step and not attempt.not_resumed:
        return attempt.resumed_step.step
    point = attempt.resumed_from
    if point and (point.iteration is None or per_epoch == 1):
        return (point.epoch or 0) * per_epoch
    return (point and point.iteration) or 0


def _reached(attempt: AttemptRecord, per_epoch: int) -> int:
    """The step that an attempt was last seen at; 0 where that is not known."""
    done = attempt.last_iteration or 0
    if attempt.unit == "iteration":
        return done
    return (max((attempt.last_epoch or 1) - 1, 0) * per_epoch + done) if per_epoch > 1 else 0


def _drops(analysis: Analysis) -> list[Mark]:
    curves = analysis.curves.get("train", {})
    curve = next((curves[name] for name in curves if naming.is_learning_rate(name) and curves[name]), [])
    found = [
        Mark("rate", step, f"learning rate {learning_rate(before)} → {learning_rate(value)}")
        for (_, earlier), (_, before), (step, value) in zip(curve, curve[1:], curve[2:], strict=False)
        if is_usable(before) and 0 < value <= DROP * before and abs(earlier - before) <= SAME * before
    ]
    return found if len(found) <= MOST_DROPS else []


def clock(stage: StageReport) -> Iterator[tuple[int, float, int, float]]:
    """Of each attempt the steps that it resumed at and came to, each with the hours since the first start."""
    found = stage.analysis
    per_epoch = (steps_per_epoch(found) if found else None) or 0
    for attempt in stage.attempts:
        start, end, last_s = _resumed_at(attempt, per_epoch), _reached(attempt, per_epoch), attempt.ended_s
        pace = found.metrics.get("train", {}).get("time") if found else None
        if found and pace and last_s is None:
            end, last_s = found.iterations, attempt.started_s + (found.iterations - start) * pace.last
        if last_s is not None and end > start:
            first_s = stage.attempts[0].started_s
            yield start, (attempt.started_s - first_s) / 3600, end, (last_s - first_s) / 3600
