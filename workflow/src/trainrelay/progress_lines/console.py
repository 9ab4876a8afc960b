"""Lines of trainers that nobody described, by what they have in common (pure).

A line names where the training is, by a word (`epoch 3`, `iter: 20/500`), a fraction (`[3/90][20/500]`) or a
bar, and numbers by their names; what does not is no progress. Each form has its module, which follows its own
lines alone: `bars`, `tables`, and `plain`, whose lines `places` takes apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeGuard

from trainrelay.progress_lines.bars import EpochBars, UnnamedBars, drawn, training_bar
from trainrelay.progress_lines.described import LineReader, LineSeen
from trainrelay.progress_lines.places import EPOCH
from trainrelay.progress_lines.plain import EPOCHS, PlainLines
from trainrelay.progress_lines.tables import Columns, RuledTable, ScoreBlock
from trainrelay.progress_lines.trainer_rows import TrainerRows

# In lower case, it is in the first characters of each line that says something: most need no further look.
_SIGN = re.compile(
    r"(?:epoch|loss|step|ite|batch|update|acc|dice|psnr|ssim|avg, |m(?:ap|iou)|\bnds| \* )"
    r"\D{0,25}?(?:\d|nan|inf)"
    r"|(?:epoch|class|step|iter(?:ation)?)\s\s|^\d{1,9} (?:train|val) (?:\d|nan|inf)"
    r"|/(?:(?<=\d/)|(?<=\d\s/))\s{0,9}\d"
)
_SAMPLE = re.compile(r"\b[Ss]ample: \d{1,9},")
_BEGIN = 400  # characters


class ConsoleReader(LineReader):
    """Follows the lines of a console; `iters` as LineReader's."""

    reads_places = False

    def __init__(self, iters: int | None = None) -> None:
        super().__init__(iters)
        self._rows = TrainerRows(iters)
        self._bars, self._unnamed, self._plain = EpochBars(), UnnamedBars(), PlainLines()
        self._counts = False  # iterations, in lines without a bar
        self._ruled, self._columns, self._scores = RuledTable(), Columns(), ScoreBlock()

    def is_read(self, seen: LineSeen | None) -> TypeGuard[LineSeen]:
        """Also a bar without a number beside it."""
        at = seen and (seen.epoch, seen.iteration, seen.iters)
        return super().is_read(seen) or (at is not None and at == self._bars.drawn)

    def _said(self, line: str) -> Mapping[str, object]:
        row = self._rows.numbers(line)
        self._evaluates = "amid" if row and "iter" in row else "epoch"
        return self._of_line(line) if row is None else row

    def _of_line(self, line: str) -> Mapping[str, object]:
        """Those of any trainer's line."""
        if bar := training_bar(line):
            said, self._evaluates = ({}, "epoch") if self._all_iters is not None else self._bars.said(bar)
            return said
        if (row := self._ruled.said(line)) is not None:
            return row
        says = _SIGN.search(line[:_BEGIN].lower())
        if "AP" in line and self._all_iters is None and (scores := self._scores.said(line)):
            return scores
        if (says or self._columns.names) and (found := self._columns.said(line)):
            return found
        if says or self._plain.may_follow(line):
            return self._of_plain(line)
        if line.strip():
            self._plain.passed(line)
        return {}

    def _of_plain(self, line: str) -> Mapping[str, object]:
        bar = drawn(line)
        by_epoch = self._all_iters is None
        of_next = self._plain.summed and bar.of == "other" and not EPOCH.search(line)
        if of_next or bar.of == "amid" or (bar.of == "run" and by_epoch):
            self._plain.passed(line)
            return {}
        newest = self._epoch if by_epoch else self._iteration
        said = self._plain.said(bar.plain, newest, self._all_iters)
        running = self._plain.nearly or ("ample: " in line and _SAMPLE.search(line))
        self._evaluates = "running" if running else "epoch"
        if bar.of != "other":
            self._counts |= "iter" in said
        elif self._all_iters == 0 and not self._counts:
            said = self._unnamed.said(bar, said)
            self._bar_epoch = self._unnamed.epoch
        return {name: said[name] for name in EPOCHS & said.keys()} if bar.begun else said
