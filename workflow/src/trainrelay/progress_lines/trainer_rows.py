"""What Hugging Face's Trainer prints: a bar of all its steps, and dicts that say which epoch by a fraction.

10%|#         | 5/48 [00:00<00:02, 14.36it/s]
{'loss': '4.324', 'learning_rate': '4.583e-05', 'epoch': '0.3125'}
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from trainrelay.progress_lines.described import RowReader
from trainrelay.progress_lines.names import named, trained_and_evaluated

BAR = re.compile(r"\s*\d{1,3}%(?:\|[^|]{0,500}\|)? *(\d{1,12})/(\d{1,12}) \[")  # it names no epoch
# In quotes from version 5 on; other trainers print the number of an epoch, without a point. An evaluation
# before the first step is at 0.
_ROW = re.compile(
    r"\s*\{'.{0,4000}'epoch': (?:'\d{1,9}(?:\.\d{1,9})?'|\d{1,9}\.\d{1,9})[,}]"
    r"|\s*\{'eval_.{0,4000}'epoch': 0[,}]"
)
SUMMARY = "train_runtime"  # in its last row, which sums all up
CLOCKS = ("_runtime", "_samples_per_second", "_steps_per_second")  # of an evaluation
_COUNTS = {"epoch", "epochs", "iter", "iters"}
_BEGUN = 0.0  # evaluated before the first step


class TrainerRows:
    """Follows both in one log; `iters` as LineReader's."""

    def __init__(self, iters: int | None = None) -> None:
        self._iters, self._rows = iters, RowReader()
        self._bar: tuple[int, int] | None = None  # the newest: done, and of how many
        self._length = 0  # of the training's bar; an evaluation has its own
        self._of_row = 0  # the length of the newest bar at the row before
        self._done: dict[int, int] = {}  # by the length of a bar
        self._epoch: int | None = None
        self._whole: float | None = None  # the row before, where no fraction told its epoch

    def numbers(self, line: str) -> Mapping[str, float] | None:
        """Those of a row, its place as `epoch`, counted from 1, and `iter` where a bar told it; nothing where
        it has no place. None: it is no row."""
        if "%" in line and (bar := BAR.match(line)):
            self._bar = int(bar[1]), int(bar[2])
            self._done[self._bar[1]] = self._bar[0]
            return None
        if not _ROW.match(line):
            return None
        numbers = self._rows.numbers(line)
        row = {name: number for name, number in numbers.items() if not name.endswith(CLOCKS)}
        trained, evaluated = (one.keys() - _COUNTS for one in trained_and_evaluated(row))
        if "epoch" not in row or SUMMARY in numbers or not (trained or evaluated):
            return {}
        if trained and self._bar:
            self._length = self._bar[1] if self._may_be_trainings(*self._bar) else self._length
            self._of_row = self._bar[1]
        place = self._place(row["epoch"], trained=bool(trained))
        metrics = {named(name): number for name, number in row.items() if name not in _COUNTS}
        return {**metrics, **place} if place else {}

    def _may_be_trainings(self, done: int, total: int) -> bool:
        """That of an evaluation or of a data set that is prepared may be the newest one, too. A training that
        was asked for fewer steps at first has a shorter one, at each row."""
        again = self._iters is None or total == self._of_row
        return total == self._iters or (again and done < total and total > self._length)

    def _place(self, done: float, *, trained: bool) -> dict[str, float]:
        # Behind a resume the bar begins with 0, too, until it is drawn next.
        at = self._done.get(self._length, 0)
        by_bar: dict[str, float] = {"iter": at} if at else {}
        if self._iters is not None:
            return by_bar
        of_all = not trained and done % 1 == 0  # an evaluation at the end
        epoch = self._epoch_of(done, trained=trained)
        if epoch is None or not (trained or of_all or at):
            return {}
        return {"epoch": epoch} if of_all else {**by_bar, "epoch": epoch}

    def _epoch_of(self, done: float, *, trained: bool) -> int | None:
        """Which epoch, from 1, so many epochs are within or at the end of. A whole number may be rounded: at
        a start it may as well be the beginning of the next one, unless every row is at an end."""
        before, self._whole = self._whole, None
        if done == _BEGUN:
            return None
        if done % 1:
            self._epoch = math.ceil(done)
        elif self._epoch not in (done, done + 1):
            if trained and (before is None or done <= before) and self._epoch is None:
                self._whole = done
                return None
            self._epoch = int(done)
        return self._epoch
