"""A training that was longer than its job's time limit: what each run of a Slurm job did for it (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from trainrelay.records import AttemptRecord, Leg


def legs(attempts: Iterable[AttemptRecord]) -> tuple[Leg, ...]:
    """One per run of a job, in order; none for what was trained outside of Slurm."""
    runs = groupby(attempts, key=lambda attempt: attempt.slurm)
    return tuple(_leg(list(members)) for run, members in runs if run is not None)


def _leg(attempts: list[AttemptRecord]) -> Leg:
    first, last = attempts[0], attempts[-1]
    assert first.slurm is not None
    reached = [attempt.last_epoch for attempt in attempts if attempt.last_epoch is not None]
    return Leg(
        slurm=first.slurm,
        attempts=tuple(attempt.number for attempt in attempts),
        epochs_before=first.resumed_from.epoch if first.resumed_from else 0,
        last_epoch=max(reached, default=None),
        seconds=round((last.ended_s or last.started_s) - first.started_s, 1),
        end=last.end or "lost",
        reason=last.reason or "",
    )
