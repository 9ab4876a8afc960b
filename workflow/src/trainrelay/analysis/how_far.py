"""How far a training came."""

from __future__ import annotations

from trainrelay.analysis.case import Case
from trainrelay.records import Progress, Row


def how_far(case: Case) -> Progress:
    """The last training row, or the mean of a later epoch, else what was validated or saved last."""
    length, epochs = case.log.iters_per_epoch, None if case.by_iteration else case.epochs
    if not case.train:
        saved = (m.epoch or 1 for m in case.log.markers if m.kind == "saved")
        known = epochs or 0 if case.expectation.finished else 0
        epoch = max((known, *saved, *(row.epoch for row in case.rows("val"))))
        finished = epochs is not None and epoch >= epochs
        return Progress(epoch, 0, length, epochs, min(1.0, epoch / epochs) if epochs else None, finished)
    last = max((case.train[-1], *case.rows("epoch")[-1:]), key=lambda row: row.epoch)
    finished = case.expectation.finished or _finished(case, last)
    fraction = 1.0 if finished else _fraction(case, last)
    iteration = last.iteration if last.phase == "train" else max(0, (length or 1) - 1)
    return Progress(last.epoch, iteration, length, epochs, fraction, finished)


def _fraction(case: Case, last: Row) -> float | None:
    length = 1 if case.log.epochs_only else case.log.iters_per_epoch
    return min(1.0, last.step / (case.epochs * length)) if case.epochs and length else None


def _finished(case: Case, last: Row) -> bool:
    """The last epoch was saved, or its last line logged, or summed up where the trainer sums epochs up.

    A trainer that saved the epoch before the last and then logged the last line of the last epoch,
    but did not say that it saves this one, was cut off between the two.
    """
    epochs = case.epochs
    if epochs is None or last.epoch < epochs:
        return False
    saved = {m.epoch for m in case.log.markers if m.kind == "saved"}
    if epochs in saved or last.epoch > epochs:
        return True
    return _summed_up(case, epochs) if case.from_zero else _last_line(case, last) and epochs - 1 not in saved


def _last_line(case: Case, last: Row) -> bool:
    length, interval = case.log.iters_per_epoch, case.log.interval or 1
    return length is not None and last.iteration + interval > length


def _summed_up(case: Case, epochs: int) -> bool:
    """The last epoch's mean or validation is there; its last line, in a log that never has either."""
    if case.log.epochs_only:
        return True
    said = {row.epoch for row in case.log.rows if row.phase != "train"}
    return epochs in said if said else case.done(case.train[-1]) == case.log.iters_per_epoch
