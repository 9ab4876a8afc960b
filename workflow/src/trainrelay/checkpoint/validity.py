"""Which checkpoint to resume from, and whether a final one is what it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from trainrelay.checkpoint.inspection import Inspection, examine
from trainrelay.checkpoint.sources import SavedAs
from trainrelay.errors import CheckpointError
from trainrelay.records import CheckpointFacts, Unit
from trainrelay.text import printable


def newest_valid(
    candidates: Sequence[tuple[int, Path]],
    epoch_base: int = 0,
    within: Callable[[Path], int | None] = lambda _: None,
    saved_as: Callable[[Path], SavedAs] = lambda _: SavedAs(),
    *,
    without_optimizer: bool = False,
) -> tuple[CheckpointFacts | None, list[str]]:
    """The newest checkpoint that a training can resume from, and a sentence for each that was skipped.

    `candidates` are (count, path), newest first. Later ones are not opened. `epoch_base` and `saved_as` as in
    `examine`; of files saved `within` an epoch, theirs is the candidate's epoch. `without_optimizer`: it may
    lack that.
    """
    skipped: list[str] = []
    for epoch, path in candidates:
        try:
            inspection = examine(path, epoch_base, candidates[-1][1], saved_as(path))
        except CheckpointError as error:
            skipped.append(str(error))
            continue
        if within(path) is not None:
            inspection = replace(inspection, facts=inspection.facts.model_copy(update={"epoch": epoch}))
        if without_optimizer and inspection.missing == ("optimizer",):
            inspection = replace(inspection, missing=())
        problem = _why_invalid(inspection, epoch, saved_as(path).unit)
        if problem is None:
            return inspection.facts, skipped
        skipped.append(f"{printable(path)} {problem}")
    return None, skipped


def _why_invalid(inspection: Inspection, count: int, unit: Unit) -> str | None:
    """Why no training may resume from it; the rest of a sentence about the file."""
    facts = inspection.facts
    if inspection.missing:
        return f"is not complete: it lacks {' and '.join(inspection.missing)}"
    if facts.first_non_finite is not None:
        return f"is not finite: {facts.first_non_finite} holds a NaN or an infinity"
    if inspection.first_non_finite_state is not None:
        what = "holds a NaN or an infinity, or is a loss scale of 0"
        return f"is not finite: the optimizer's {inspection.first_non_finite_state} {what}"
    if facts.done(unit) != count:
        return f"was saved after {unit} {facts.done(unit)}, but was taken for {unit} {count}"
    return None


def verify(
    facts: CheckpointFacts, *, epochs: int, iterations: int | None = None, unit: Unit = "epoch"
) -> None:
    """CheckpointError unless it is finite and was saved after `epochs` epochs and `iterations` steps.

    `iterations` None: not known, not compared; nor is an epoch that the file does not hold. Of a training
    that counts iterations, `unit`, `epochs` are those.
    """
    name = printable(facts.file.path)
    another = f"set `checkpoint: {{{unit}: N}}` for this stage in the config to promote another {unit}"
    if not facts.finite:
        raise CheckpointError(
            f"{name} fails the check finite: {facts.first_non_finite} holds a NaN or an infinity, "
            f"so the training diverged; {another}, or lower the learning rate and train again"
        )
    if facts.done(unit) not in (None, epochs):
        raise CheckpointError(
            f"{name} fails the check {unit}: it was saved after {unit} {facts.done(unit)}, not {epochs}; "
            f"start the workflow again to train the rest, or {another}"
        )
    if iterations is not None and facts.iteration != iterations:
        found = "unknown" if facts.iteration is None else facts.iteration
        raise CheckpointError(
            f"{name} fails the check iteration: it was saved after iteration {found}, not {iterations}, so"
            f" part of an epoch was skipped; {another}, or train again"
        )
