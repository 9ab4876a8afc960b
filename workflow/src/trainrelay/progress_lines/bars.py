"""Progress bars: as tqdm prints them, of a training, and what a line with any other says (pure).

    Epoch 0:  33%|###3      | 1/3 [00:01<00:02,  1.20s/it, loss=28.5, lr=0.0001]

Bars of an evaluation or a download, and those that name no epoch, are none of a training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from trainrelay.progress_lines.names import EVALUATED, is_aside, is_known, is_of_evaluation, named

# The whole epoch, perhaps without its last batches; that before it, or its beginning.
Evaluates = Literal["epoch", "running", "before", "amid"]
DRAWN = r"%\|[^|]{0,500}\|"
_BAR = re.compile(
    r"(?:\[[a-z]+\d+\]:\s?)?(?:train(?:ing)?:? )?epoch:? ?\[?(\d{1,9})(?:/(\d{1,9}))?\]?:?"
    r"(?: [\[(]?train(?:ing)?[\])]?)?:? +(\d{1,3})%(?:\|[^|]{0,500}\|)? (\d{1,9})/(\d{1,9}) \[\d[\d:]*<",
    re.IGNORECASE,
)
_SAID = r"[^\[\]]{0,2000}+(?:\[[^\[\]]{0,200}+\][^\[\]]{0,2000}+){0,20}+\]"  # with lists of numbers
_END = re.compile(
    r"(?:%(?:\|[^|]{0,500}\|)?|\| +\|) +[\d.]{1,12}\w{0,2}/(?:[\d.]{1,12}\w{0,2}|\?) \[\d[\d:]{0,12}<"
    + _SAID
    + r"(?=\s*\S)"
)
_INSIDE = re.compile(_SAID)
_NUMBER = re.compile(
    r", ?([A-Za-z_][^\s=:,]*)(?: \(\w{1,20}\))?(?:=|: ?)"  # also `loss (batch)=0.5`
    r"(?:tensor\()?\[{0,2}([^\s,\[\]()]+)(?=[,\])])"
)

_MOST_NUMBERS = 200  # in one line, which may be made to fill the memory
_BEGUN = re.compile(r"\s0/\d{1,9} (?:\[\d[\d:]{0,12}<|\d{1,9}:\d\d:\d\d •)")  # nothing is done yet
_KERAS = re.compile(r"[\x08]|(?=\b\d{1,9}/\d{1,9} \[[=>])")  # it draws over its bar
_DONE = re.compile(DRAWN + r" *(\d{1,9})/(\d{1,9}) \[")
_OF_RUN = re.compile(r"(?i)(?:training )?steps: {1,3}\d")  # kohya's
_OF_EVALUATION = re.compile(rf"(?i)[^|]{{0,200}}{EVALUATED}[^|:=]{{0,80}}:?\s{{1,4}}(\d{{1,3}}){DRAWN}")
_PERCENT = re.compile(r"(?i)\b((?:train|val|test|eval)[\w ]{0,20}): {1,9}\d{1,3}%(?=\|)")


@dataclass(frozen=True, slots=True)
class Bar:
    """A state of a bar. `epoch` and `epochs` as printed."""

    epoch: int
    epochs: int | None
    done: int
    total: int
    numbers: Mapping[str, str]


def parts(line: str) -> Iterator[str]:
    """The states of any bars, and what was printed behind them: a bar ends no line."""
    begin, drawn = 0, "%" in line or "/? [" in line
    while drawn and (end := _END.search(line, begin)):
        yield f"{line[begin : end.end()]}\r"
        begin = end.end()
    yield line[begin:]


def is_bar(line: str) -> bool:
    """Whether a line shows a bar, of whatever."""
    return "%|" in line or training_bar(line) is not None


def training_bar(line: str) -> Bar | None:
    """The state with which a line begins; None if there is none, or it was torn."""
    if (match := _BAR.match(line)) is None:
        return None
    percent, done, total = map(int, match.group(3, 4, 5))
    if not total or done > total or abs(100 * done / total - percent) > 1:
        return None
    inside = _INSIDE.match(line, match.end())
    said = inside[0] if inside else line[match.end() :]
    epochs = int(match[2]) if match[2] else None
    return Bar(int(match[1]), epochs, done, total, dict(_NUMBER.findall(said)[:_MOST_NUMBERS]))


class Drawn(NamedTuple):
    """A line without the bar in it, and what that is of: the whole run, an evaluation, done or amid it, or
    anything else. `begun`: nothing is done yet; `at`: how much of how much, of anything else."""

    plain: str
    begun: bool
    of: Literal["run", "evaluation", "amid", "other", None]
    at: tuple[int, int] = 0, 0


def drawn(line: str) -> Drawn:
    """Of a line that does not begin with the bar of an epoch."""
    begun = " 0/" in line and _BEGUN.search(line) is not None
    if _OF_RUN.match(line):
        return Drawn(line, begun, "run")
    if "%|" not in line:
        return Drawn(_KERAS.split(line)[-1] if "[=" in line or "\b" in line else line, begun, None)
    if evaluation := _OF_EVALUATION.match(line):
        plain = f"val {line[evaluation.end() :]}".replace(" - ", ": ")
        return Drawn(plain, begun, "evaluation" if evaluation[1] == "100" else "amid")
    found = _DONE.search(line)
    at = (int(found[1]), int(found[2])) if found else (0, 0)
    return Drawn(_PERCENT.sub(r"\1", line).replace(" - ", ": "), begun, "other", at)


class UnnamedBars:
    """Counts epochs where nothing names them: a bar that begins again, having reached its end, is of the next
    one. One of another length, then, is of an evaluation. Of ranks that do not keep step the first counts."""

    def __init__(self) -> None:
        self.epoch = 1
        self._done = self._total = self._reached = 0
        self._evaluation = 0  # the length of its bar
        self._lags = 0  # bars that went back by less than an eighth: a restart's, if it is not many

    def said(self, bar: Drawn, said: Mapping[str, object]) -> Mapping[str, object]:
        """Names and values, as of a plain line."""
        (done, total), ended = bar.at, 0 < self._reached == self._total
        if not total or not (said or total == self._total):
            return said
        if total != self._total and (ended or total == self._evaluation):
            self._evaluation = total
            shown = {name: said[name] for name in said if name not in ("iter", "iters")}
            return {f"val_{n}": value for n, value in shown.items()} if ended and done == total else {}
        behind = self._done - done
        lags = total == self._total and 0 < 8 * behind < total
        self._lags += lags
        if self._lags > 2 and total == self._total and -2 * behind > total:
            return {}  # of a rank that is still in the epoch before
        if (2 * done < self._reached and not lags) or total != self._total:
            self.epoch, self._reached = self.epoch + 1 if ended else 1, 0
        self._done, self._total, self._reached = done, total, max(done, self._reached)
        return said


class EpochBars:
    """Follows bars that name their epoch. One shows the newest evaluation until another: amid, at its end, or
    as the next begins. What is shown with the first step is none."""

    def __init__(self) -> None:
        self.drawn: tuple[int, int, int] | None = None  # by the last one: epoch, done and total
        self._begin()

    def _begin(self) -> None:
        self._at = (-1, 0)  # epoch and done, of the last one that showed numbers
        self._shown: dict[str, str] = {}  # of an evaluation
        # All that were shown, in which epoch last, and whether before its end: each rank may show its own.
        self._known: dict[frozenset[tuple[str, str]], tuple[int, bool]] = {}

    def said(self, bar: Bar) -> tuple[Mapping[str, object], Evaluates]:
        """Names and values, and when an evaluation among them was."""
        epoch, done = self._at
        if 2 * ((epoch - bar.epoch) * bar.total + done - bar.done) > bar.total:  # no rank lags so far
            self._begin()
        every = {name: value for n, value in bar.numbers.items() if not is_aside(name := named(n))}
        numbers = dict(_of_step_or_epoch(every))
        shown = {name: value for name, value in numbers.items() if is_of_evaluation(name)}
        amid, before = bar.done < bar.total, self._at[0]
        evaluates: Evaluates = "epoch" if not amid else "before" if 0 <= before < bar.epoch else "amid"
        counts = evaluates == "before" or (bar.done and (before >= 0 or not amid))
        new = shown if self._is_new(shown, bar) and counts else {}
        self._at = (bar.epoch, bar.done) if numbers and bar.done else self._at
        self.drawn = (bar.epoch, bar.done, bar.total) if bar.done else None
        trained = {name: value for name, value in numbers.items() if bar.done and name not in shown}
        place = {"epoch": bar.epoch, "epochs": bar.epochs, "iter": bar.done, "iters": bar.total}
        return {**trained, **new, **place}, evaluates

    def _is_new(self, shown: dict[str, str], bar: Bar) -> bool:
        amid, key = bar.done < bar.total, frozenset(shown.items())
        last = self._known.get(key, (-2, False))
        known = last[0] + 1 >= bar.epoch if amid else last == (bar.epoch, True)
        self._known[key] = (bar.epoch, amid or known)
        before, self._shown = self._shown, shown if shown or bar.done else self._shown
        return shown != before and not known


def _of_step_or_epoch(numbers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of Lightning's loss_step and loss_epoch the one that counts: of an evaluation the epoch's."""
    for name, value in numbers.items():
        base, _, what = name.rpartition("_")
        other = {"step": f"{base}_epoch", "epoch": f"{base}_step"}.get(what)
        if not other or not is_known(base):
            yield name, value
        elif other not in numbers or (what == "epoch") == is_of_evaluation(name):
            yield base, value
