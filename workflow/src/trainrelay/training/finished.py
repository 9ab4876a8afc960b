"""When a training is finished (pure): one answer for the supervisor, the state, promotion and the analysis.

Finished is a valid checkpoint whose content says that the last epoch is done; the exit status then adds a
warning at most. Where the content does not tell its epoch, exit status 0 is needed as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from trainrelay.records import KEYS, AttemptRecord, CheckpointFacts, Unit


def finished(final: CheckpointFacts, asked: int, exit_status: int | None, unit: Unit = "epoch") -> bool:
    """Whether this checkpoint, read and whole, ends a training of so many epochs or iterations."""
    done = final.done(unit)
    return exit_status == 0 if done is None else done >= asked


def final_candidate(found: Iterable[tuple[int, Path]], asked: int) -> Path | None:
    """Of (count, file): the one of the last epoch (iteration), else of the nearest past it, as trainers may
    overshoot."""
    late = [(count, path) for count, path in found if count >= asked]
    return min(late, key=lambda one: one[0])[1] if late else None  # of one count, the first of them


def trained_to(attempts: Sequence[AttemptRecord]) -> int:
    """Epochs (iterations) of the finished trainings among these attempts; 0 where none is."""
    return max((_final(one) or one.asked for one in attempts if one.end == "done"), default=0)


def _final(attempt: AttemptRecord) -> int | None:
    return attempt.final_checkpoint.done(attempt.unit) if attempt.final_checkpoint else None


def why_not_lowered(
    attempts: Sequence[AttemptRecord], asked: int, there: Collection[int], unit: Unit = "epoch"
) -> str | None:
    """Why what is trained, or on its way to more epochs (iterations), is not `asked`, and what to set.

    `there` are those that have a checkpoint. None: it answers, also where the trainer went past what it was
    asked for.
    """
    newest = max((*there, trained_to(attempts)))
    past = {_final(one) for one in attempts if one.asked <= asked}
    raised = any(one.asked > asked for one in attempts)
    if newest <= asked or not raised or not past.union({asked}).isdisjoint(there):
        return None
    trained = f"{newest} {unit}s are trained and {unit} {asked} has no checkpoint"
    return f"{KEYS[unit]} is {asked}, but {trained}; set {KEYS[unit]}: {newest}"
