"""Lines of a training as the user describes them: by regular expressions, or as rows of CSV or JSON (pure).

A named group or column is an epoch, its iteration, how many there are of each, or a metric; one whose name
begins or ends with val, test or eval is of an evaluation. What names no epoch belongs to the one before it.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard

import regex

from trainrelay.progress_lines.bars import Evaluates, parts
from trainrelay.progress_lines.names import is_of_evaluation, trained_and_evaluated
from trainrelay.records import ITERATIONS

LINE_LIMIT = 4_000  # characters; a longer line is no progress for people
_SLOW_S = 0.2  # of CPU time for one pattern and line, or name: a thousand times what others take
_MOST_SLOW = 3  # of them: a pattern that is slow on so many is left out
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # and moves of the cursor
HISTORY = {"loss", "val_loss"}  # of a table of Keras's history: a row per epoch, which nothing counts
_COUNTS = {"epoch", "epochs", "iter", "iters"}
_COLUMNS = {
    **{name: name for name in _COUNTS},
    **dict.fromkeys((*ITERATIONS, "batch", "_step", "trainer/global_step"), "iter"),
    **dict.fromkeys(("total_timesteps", "timesteps", "itr", "i"), "iter"),
    "num_epochs": "epochs",
    **{"current_steps": "iter", "total_steps": "iters"},  # LLaMA-Factory
}
# Indexes, clocks, and the bounds that W&B exports beside each curve.
_NO_METRIC = re.compile(
    r"|Unnamed: 0|_?timestamp|_runtime|wall time|relative time.*|.*__M(?:IN|AX)", re.IGNORECASE
)
_BARE = re.compile(r"(?<=: )(?:nan|-?inf|True|False|None)(?=[,}])")
_QUOTED = re.compile(r"(?<=: )'(-?\d[\d.e+-]*|nan|-?inf)'(?=[,}])")  # of transformers 5
_AS_JSON = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}  # all else is no number


@dataclass(frozen=True, slots=True)
class LineSeen:
    """What a line says, counts as printed. `iteration` None: of the epoch; `evaluated`: of an evaluation.

    `by_iteration`: of a training that counts iterations, in epoch 1 unless bars count epochs; `evaluates`: a
    whole epoch (`running`, more of it may follow, which counts), or that `before` it, or `amid`: an epoch may
    have several, this one is after its iteration.
    """

    epoch: int
    iteration: int | None
    iters: int | None
    epochs: int | None
    values: Mapping[str, float]
    evaluated: Mapping[str, float]
    by_iteration: bool = False
    evaluates: Evaluates = "epoch"

    @property
    def loss(self) -> float | None:
        """The total, or the only one."""
        losses = {name: value for name, value in self.values.items() if name.lower().endswith("loss")}
        only = next(iter(losses.values())) if len(losses) == 1 else None
        return losses.get("loss", losses.get("total_loss", only))


@cache
def compiled(pattern: str) -> Any:
    """A pattern of the user's; ValueError says what is wrong with it."""
    try:
        return regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None


def found_in(text: str, pattern: str, slow: Counter[str], *, whole: bool = False) -> Any:
    """The first match of a pattern of the user's, or that with the whole text. None also where it takes too
    long, which `slow` counts, and once it took too long on three."""
    form = compiled(pattern)
    try:
        ask = form.fullmatch if whole else form.search
        return ask(text, timeout=_SLOW_S) if slow[pattern] < _MOST_SLOW else None
    except TimeoutError:
        slow[pattern] += 1
        return None


class LineReader:
    """Follows the lines of one file, and keeps what later ones leave out.

    `iters` where the training counts iterations: so many are asked for.
    """

    line_limit = LINE_LIMIT
    reads_places = True  # also a line that says no more than where the training is, is progress

    def __init__(self, iters: int | None = None) -> None:
        self._all_iters = iters
        self.slow: Counter[str] = Counter()  # on how many lines each pattern took too long
        self.matched: set[str] = set()  # patterns by which a line was read
        self._epoch: int | None = None
        self._iters: int | None = None
        self._evaluates: Evaluates = "epoch"
        self._iteration = self._origin = 0
        self._bar_epoch = 1  # of a training that counts iterations, where bars begin again
        self._resumed_at = 0  # the iteration of a first line that may be a resume's
        self._bases: dict[int, int] = {}  # iterations before each epoch, where they count over the whole run

    def line(self, line: str) -> LineSeen | None:
        """What the next line says, or the last words in it that say something; None: nothing."""
        every = [self._seen(self.numbers(part)) for part in parts(line)]
        return next(filter(None, reversed(every)), None)

    def is_read(self, seen: LineSeen | None) -> TypeGuard[LineSeen]:
        """Whether a line shows progress or an evaluation."""
        return seen is not None and bool(self.reads_places or seen.values or seen.evaluated)

    def numbers(self, line: str) -> dict[str, float]:
        """The numbers of the next line by their names, counts as `epoch`, `epochs`, `iter` and `iters`."""
        said = self._said(_COLOURS.sub("", line)) if len(line) <= self.line_limit else {}
        return {name: number for name, text in said.items() if (number := as_number(text)) is not None}

    def _said(self, line: str) -> Mapping[str, object]:
        """Names and values, as far as this form of line has them."""
        raise NotImplementedError

    def _seen(self, numbers: Mapping[str, float]) -> LineSeen | None:
        counts = {name: int(numbers[name]) for name in _COUNTS & numbers.keys() if 0 <= numbers[name] < 10**9}
        others = {name: number for name, number in numbers.items() if name not in _COUNTS}
        if self._all_iters is not None:
            return self._by_iteration(self._all_iters, counts, others)
        self._epoch = counts.get("epoch", self._epoch)
        self._iters = counts.get("iters", self._iters)
        if self._epoch is None or not numbers:
            return None
        values, evaluated = trained_and_evaluated(others)
        if "iter" not in counts:
            of_epoch = self._epoch, None, None, counts.get("epochs")
            return LineSeen(*of_epoch, values, evaluated, evaluates=self._evaluates)
        at = self._epoch, self._within(self._epoch, counts["iter"]), self._iters, counts.get("epochs")
        return LineSeen(*at, values, evaluated, evaluates=self._evaluates)

    def _by_iteration(
        self, iters: int, counts: Mapping[str, int], others: Mapping[str, float]
    ) -> LineSeen | None:
        values, evaluated = trained_and_evaluated(others)
        self._iteration = counts.get("iter", self._iteration)
        if not ("iter" in counts or evaluated):
            return None
        at = self._bar_epoch, self._iteration, iters or counts.get("iters", 0)
        return LineSeen(*at, None, values if "iter" in counts else {}, evaluated, True, self._evaluates)

    def _within(self, epoch: int, iteration: int) -> int:
        """The iteration of its epoch, where the trainer counts on from one to the next."""
        if self._iters and iteration > self._iters:
            past = [*self._bases] == [epoch]  # a few more than its only epoch has
            return self._iters if past else (iteration - 1) % self._iters + 1
        if not self._bases:
            self._resumed_at = iteration if epoch > 1 and not self._iters else 0
            self._origin = min(iteration, 1) if self._resumed_at else iteration
        if self._resumed_at:  # within the epoch, or over the whole run? The second line tells.
            if (stride := iteration - self._resumed_at) == 0:
                self._bases[epoch], self._iteration = iteration - self._origin, iteration
                return self._origin
            begun = self._resumed_at - stride if 0 < stride < self._resumed_at else 0
            self._bases = dict.fromkeys(self._bases, begun)
            self._resumed_at = 0
        goes_on = bool(self._bases) and iteration > self._iteration and not self._iters
        step = min(self._origin, iteration - self._iteration)
        self._bases.setdefault(epoch, iteration - step if goes_on else 0)
        self._iteration = iteration
        return max(0, iteration - self._bases[epoch])


class PatternReader(LineReader):
    """By regular expressions, the first that matches a line; none of them may stall us."""

    def __init__(self, patterns: Sequence[str], iters: int | None = None) -> None:
        super().__init__(iters)
        self._patterns = [pattern for pattern in patterns if compiled(pattern)]  # an error now, not later

    def _said(self, line: str) -> Mapping[str, object]:
        for pattern in self._patterns:
            if found := found_in(line, pattern, self.slow):
                self.matched.add(pattern)
                return dict(found.groupdict())
        return {}


class RowReader(LineReader):
    """Rows of CSV below a line of names, or an object a line."""

    line_limit = 1 << 20  # a table may have thousands of columns

    def __init__(self, iters: int | None = None) -> None:
        super().__init__(iters)
        self._names: list[str] = []
        self._separator = ","

    def _said(self, line: str) -> Mapping[str, object]:
        if (found := row_object(line)) is None:
            names = column_names(line)
            own = self._separator if self._separator in line else _separator(line)  # names may have another
            counts = not _COUNTS.isdisjoint(map(column, names))
            if (counts or set(names) >= HISTORY) and all(as_number(name) is None for name in names):
                self._names, self._separator = names, _separator(line)
            elif len(cells := _cells(line, own)) == len(self._names):
                found = dict(zip(self._names, cells, strict=True))
        there = ((name, value) for name, value in _of_phase(found or {}).items() if value != "")
        counted = sorted(there, key=lambda pair: pair[0] != "_step")  # W&B counts its own rows
        return {column(n): value for n, value in counted if not _NO_METRIC.fullmatch(n)}


@cache
def column(name: str) -> str:
    """What a column counts; its own name where that is a metric's. Loggers of reinforcement learning put a
    word before a count (`time/total_timesteps`, `total/steps`)."""
    group, _, last = name.lower().rpartition("/")
    if group in ("time", "total", "misc"):
        return {"steps": "iter", "epochs": "epoch"}.get(last, "iter" if last == "total_timesteps" else name)
    return _COLUMNS.get(name.lower(), name)


def _of_phase(row: Mapping[str, object]) -> Mapping[str, object]:
    """A row of `trainrelay export` says whether it is of an evaluation, or the mean of an epoch."""
    match row.get("phase"):
        case "val":
            named = (n.lower() in _COLUMNS or is_of_evaluation(n) or _NO_METRIC.fullmatch(n) for n in row)
            return {
                n if bare else f"val_{n}": row[n]
                for n, bare in zip(row, named, strict=True)
                if n != "iteration"
            }
        case "epoch":
            return {name: said for name, said in row.items() if name not in ("step", "iteration")}
    return row


def row_object(line: str) -> dict[str, Any] | None:
    """The object that a line is, of JSON or as Python prints a dict (Hugging Face's Trainer)."""
    line = line.strip()
    if line.startswith("{'"):
        line = _QUOTED.sub(r"\1", line)
        line = _BARE.sub(lambda match: _AS_JSON.get(match[0], "null"), line.replace("'", '"'))
    try:
        found = json.loads(line) if line.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def column_names(line: str) -> list[str]:
    """The cells of a line of names, without the run's name that W&B puts before each: `run - train/loss`."""
    names = _cells(line, _separator(line))
    run, *more = {name.rpartition(" - ")[0] for name in names} - {""} or {""}
    return names if more else [name.removeprefix(f"{run} - ") for name in names]


def _separator(line: str) -> str:
    return max(",;\t", key=line.count)


def _cells(line: str, separator: str) -> list[str]:
    """Where a semicolon separates them, a comma may begin the decimals."""
    try:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []
    return [cell.strip().replace(",", "." if separator == ";" else ",") for cell in cells]


def as_number(said: object) -> float | None:
    try:
        return None if isinstance(said, bool) else float(said)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
