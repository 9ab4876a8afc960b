"""Lines of a training as the user describes them: by regular expressions, or as rows of CSV or JSON (pure).

A named group or column is an epoch, its iteration, how many there are of each, or a metric; one whose name
begins with val_, test_ or eval_ is of an evaluation. What names no epoch belongs to the epoch before it.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import regex

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
# `Epoch: [0][ 1/10] .. Loss 7.0`, `INFO Epoch 3/90, step 20/100, loss: 0.5`, `Epoch 2 | Iter 0 | Loss 0.5`,
# bars of tqdm; but not `resuming at epoch 3`, nor what names an evaluation before its loss.
_BETWEEN = r"(?:(?!\b(?:val|test|eval))[^\n]){0,200}?"
_BEGIN = (
    r"(?i)^(?:.{0,80}?\b(?:INFO|DEBUG|GPU\d+|rank\d+)\b(?::\w+:)?)?[\W\d]*(?:train(?:ing)?\W{1,3})?"
    rf"epoch\W{{0,3}}(?P<epoch>\d{{1,9}})(?:\s?(?:/|of)\s?(?P<epochs>\d{{1,9}}))?\b{_BETWEEN}"
)
_END = rf"{_BETWEEN}\bloss[^\w.+-]{{1,3}}(?P<loss>{NUMBER})"
USUAL = (
    rf"{_BEGIN}\b(?P<iter>\d{{1,9}})\s?(?:/|of)\s?(?P<iters>\d{{1,9}})\b{_END}",
    rf"{_BEGIN}\b(?:iter(?:ation)?|step|batch)\W{{1,3}}(?P<iter>\d{{1,9}})\b{_END}",
    _BEGIN + _END,
)
LINE_LIMIT = 4_000  # characters; a longer line is no progress for people
_SLOW_S = 0.05  # of CPU time for one pattern and line: a thousand times what others take
_MOST_SLOW = 3  # lines: a pattern that is slow on so many is left out
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_COUNTS = {"epoch", "epochs", "iter", "iters"}
_COLUMNS = {"iteration": "iter", "batch": "iter", "num_epochs": "epochs"}
_EVALUATION = re.compile(r"(?:val|valid|validation|test|eval)[_/]", re.IGNORECASE)
_TRAINING = re.compile(r"train(?:ing)?[_/]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LineSeen:
    """What a line says, counts as printed. `iteration` None: of the epoch; `evaluated`: of an evaluation."""

    epoch: int
    iteration: int | None
    iters: int | None
    epochs: int | None
    values: Mapping[str, float]
    evaluated: Mapping[str, float]


class LineReader(Protocol):
    """Follows the lines of one file."""

    slow: Counter[str]  # on how many lines each pattern took too long

    def line(self, line: str) -> LineSeen | None:
        """What the next line says; None: nothing."""


def compiled(pattern: str) -> Any:
    """A pattern of the user's; ValueError says what is wrong with it."""
    try:
        found = regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if not found.groupindex:
        raise ValueError(
            "has no named group; write (?P<epoch>..), (?P<iter>..), (?P<loss>..) around the numbers"
        )
    return found


class _Follower:
    """Keeps what later lines leave out."""

    def __init__(self) -> None:
        self.slow: Counter[str] = Counter()
        self._epoch: int | None = None
        self._iters: int | None = None

    def _seen(self, said: Mapping[str, object]) -> LineSeen | None:
        numbers = {name: number for name, text in said.items() if (number := _number(text)) is not None}
        counts = {name: int(numbers[name]) for name in _COUNTS & numbers.keys() if 0 <= numbers[name] < 10**9}
        others = {name: number for name, number in numbers.items() if name not in _COUNTS}
        self._epoch = counts.get("epoch", self._epoch)
        self._iters = counts.get("iters", self._iters)
        if self._epoch is None or not numbers:
            return None
        evaluated = {
            _EVALUATION.sub("", name, count=1): v for name, v in others.items() if _EVALUATION.match(name)
        }
        values = {_TRAINING.sub("", n, count=1): v for n, v in others.items() if not _EVALUATION.match(n)}
        iters = self._iters if "iter" in counts else None
        return LineSeen(self._epoch, counts.get("iter"), iters, counts.get("epochs"), values, evaluated)


class PatternReader(_Follower):
    """By regular expressions, the first that matches a line; none of them may stall us."""

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__()
        self._patterns = [(pattern, compiled(pattern)) for pattern in patterns]

    def line(self, line: str) -> LineSeen | None:
        """What the next line says; None: nothing."""
        found = self.match(line)
        return self._seen({k: v for k, v in found[1].items() if v is not None}) if found else None

    def match(self, line: str) -> tuple[str, Mapping[str, str | None]] | None:
        """The pattern that matches a line, and its groups."""
        for pattern, form in self._patterns:
            if len(line) <= LINE_LIMIT and self.slow[pattern] < _MOST_SLOW:
                try:
                    if found := form.search(_COLOURS.sub("", line), timeout=_SLOW_S):
                        return pattern, found.groupdict()
                except TimeoutError:
                    self.slow[pattern] += 1
        return None


class RowReader(_Follower):
    """Rows of CSV below a line of names, or an object of JSON a line."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []

    def line(self, line: str) -> LineSeen | None:
        """What the next line says; None: nothing."""
        if len(line) > LINE_LIMIT:
            return None
        said = dict(self._pairs(line))
        return self._seen({_COLUMNS.get(name, name): value for name, value in said.items()})

    def _pairs(self, line: str) -> Iterator[tuple[str, object]]:
        try:
            if line.lstrip().startswith("{"):
                yield from json.loads(line).items()
                return
            cells = next(csv.reader([line.strip()]), [])
        except (ValueError, RecursionError, csv.Error):
            return
        if any(cell.strip().lower() == "epoch" for cell in cells):
            self._names = [cell.strip() for cell in cells]
            self._names = [name.lower() if name.lower() in _COUNTS else name for name in self._names]
        elif len(cells) == len(self._names):
            yield from zip(self._names, cells, strict=True)


def _number(said: object) -> float | None:
    try:
        return None if isinstance(said, bool) else float(said)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
