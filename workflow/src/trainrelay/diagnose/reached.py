"""How far a training came."""

from __future__ import annotations

from trainrelay.diagnose.case import Case
from trainrelay.records import Progress


def reached(case: Case) -> Progress:
    """The last training row against all epochs."""
    length, epochs = case.log.iters_per_epoch, case.epochs
    if not case.train:
        return Progress(0, 0, length, epochs, 0.0 if epochs else None, finished=False)
    last = case.train[-1]
    finished = _finished(case)
    fraction = min(1.0, last.step / (epochs * length)) if epochs and length else None
    return Progress(last.epoch, last.iteration, length, epochs, 1.0 if finished else fraction, finished)


def _finished(case: Case) -> bool:
    """The last epoch was saved, or its last line logged.

    A trainer that saved the epoch before the last and then logged the last line of the last epoch,
    but did not say that it saves this one, was cut off between the two.
    """
    epochs, last = case.epochs, case.train[-1]
    if epochs is None or last.epoch < epochs:
        return False
    saved = {m.epoch for m in case.log.markers if m.kind == "saved"}
    if epochs in saved or last.epoch > epochs:
        return True
    length, interval = case.log.iters_per_epoch, case.log.interval or 1
    at_end = length is not None and last.iteration + interval > length
    return at_end and epochs - 1 not in saved
