"""When a training is finished (pure): one answer for the supervisor, the state, promotion and the analysis.

Finished is a valid checkpoint whose content says that the last epoch is done; the exit status then adds a
warning at most. Where the content does not tell its epoch, exit status 0 is needed as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from trainrelay.records import AttemptRecord, CheckpointFacts


def finished(final: CheckpointFacts, epochs: int, exit_status: int | None) -> bool:
    """Whether this checkpoint, which was read and is whole, ends a training of so many epochs."""
    return exit_status == 0 if final.epoch is None else final.epoch >= epochs


def final_candidate(found: Iterable[tuple[int, Path]], epochs: int) -> Path | None:
    """Of (epoch, file): the one of the last epoch, else of the nearest past it, as trainers may overshoot."""
    late = [(epoch, path) for epoch, path in found if epoch >= epochs]
    return min(late, key=lambda one: one[0])[1] if late else None  # of one epoch, the first of them


def trained_to(attempts: Sequence[AttemptRecord]) -> int:
    """Epochs of the finished trainings among these attempts; 0 where none is."""
    finals = [(one.final_checkpoint, one.epochs) for one in attempts if one.end == "done"]
    return max((asked if final is None else final.epoch or asked for final, asked in finals), default=0)


def why_not_lowered(attempts: Sequence[AttemptRecord], epochs: int, there: Collection[int]) -> str | None:
    """Why what is trained, or on its way to more epochs, does not answer for `epochs`, and what to set.

    `there` are the epochs that have a checkpoint. None: it answers, also where the trainer went past what it
    was asked for.
    """
    newest = max((*there, trained_to(attempts)))
    past = {one.final_checkpoint.epoch for one in attempts if one.final_checkpoint and one.epochs <= epochs}
    raised = any(one.epochs > epochs for one in attempts)
    if newest <= epochs or not raised or not past.union({epochs}).isdisjoint(there):
        return None
    trained = f"{newest} epochs are trained and epoch {epochs} has no checkpoint"
    return f"epochs is {epochs}, but {trained}; set epochs: {newest}"
