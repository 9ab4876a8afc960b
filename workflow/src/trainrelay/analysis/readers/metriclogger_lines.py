"""The lines that DETR's MetricLogger prints, one by one.

    Epoch: [0]  [  10/1458]  eta: 0:08:13  lr: 0.000100  loss: 10.0258 (11.4481)  time: 0.3410  data: 0.0766
    Test:  [  0/156]  eta: 0:03:55  loss: 3.6938 (3.6938)  time: 1.5096  data: 1.0722
    Averaged stats: lr: 0.000100  loss: 3.6713 (5.0981)
    * Acc@1 74.610 Acc@5 95.313 loss 0.848

DINOv2 counts no epochs, so all of its training is one: `Training  [   40/625000]  eta: ..`.

Some print a progress bar of tqdm instead, whose states are read as lines (see bars).

`v (g)` is the median of the last 20 values and the mean of all so far. The delimiter is two spaces or a tab.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from trainrelay.analysis.readers.clean import metric_name, number, records, strip_escapes
from trainrelay.progress_lines.bars import Bar, training_bar

VALUE_LIMIT = 5_000  # metrics of one line
HEADER_LIMIT = 120  # characters before the place of a line; its pattern takes at most about as many

_PLACE = re.compile(r"\[ {0,9}(\d{1,9})/(\d{1,9})\][ \t]{1,9}eta: ")
_HEADER = re.compile(
    r"(?:Epoch:? ?\[(\d{1,9})(?:/(\d{1,9}))?\]|\b(Training)"
    r"|\b(?:Test|Val|Valid|Validation|Eval|Evaluation|Evaluate)\b[^:\[\]]{0,20}:[^:\[\]]{0,40}(?:\[\d{1,9}\])?)\s*$",
    re.IGNORECASE,
)
_AVERAGED = re.compile(r"\bAveraged (?:((?:val|test|eval)\w{0,20} )|\w{1,20} )?stats: ?")
_ACCURACY = re.compile(r"(?:\bTest:.{0,20}?|\*) +(?=Acc@1 )")
_SCORE = re.compile(r"(Acc@\d|loss) (\d[\d.]{0,30})(?!\S)")
_RECORD = re.compile(
    r"Epoch: \[|(?<![A-Za-z])Test: |Averaged (?:\w{1,20} )?stats:|\| distributed init|Namespace\("
)
_WORDS = ("Epoch: ", "Test: ", " stats:", "| distributed init", "Namespace(")  # one of them is in each
_PREFIX = re.compile(r"\[[a-z]+\d{1,6}\]:\s?")
_VALUE = re.compile(r"(?<!\S)(max mem|[A-Za-z_][^\s:()]*): ([^\s()]+)(?: \(([^\s()]+)\))?")
_WHOLE = re.compile(r"\.\d{4}$|^-?(?:nan|inf)$")
_NAMES = {"data": "data_time", "max mem": "memory"}


Shape = tuple[tuple[str, bool], ...]  # names of metrics in order, and whether a mean follows
CLOCKS = {"time", "data_time", "memory"}  # what a progress line ends with and averages do not have


@dataclass(slots=True, eq=False)
class ProgressLine:
    """A line of training, or of an evaluation (`epoch` None). `epoch` and `iteration` as printed.

    `means` is filled on the last line of a block only. `whole`: nothing of the line is lost, as far as the
    lines read so far tell. `epochs`: of how many, where a trainer says it.
    """

    epoch: int | None
    iteration: int
    length: int
    values: Mapping[str, float]
    means: Mapping[str, float]
    shape: Shape
    whole: bool
    epochs: int | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Epoch and iteration, to be compared."""
        return (self.epoch or 0, self.iteration)


@dataclass(frozen=True, slots=True)
class Averages:
    """The means of what was just trained or evaluated; `evaluated`: they say that it was the latter."""

    values: Mapping[str, float]
    names: tuple[str, ...]
    evaluated: bool


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a line: the first number of each metric, and that in parentheses.

    `torn`: something there is neither, as where another process wrote into the line.
    """

    values: Mapping[str, float]
    means: Mapping[str, float]
    torn: bool


def is_ours(line: str) -> bool:
    """Whether only trainers of this family print such a line."""
    averaged = "Averaged " in line and _AVERAGED.search(line) is not None
    return averaged or _placed(line) is not None


class LineReader:
    """Lines -> records. Learns how much a line usually holds, to notice those that were cut or mixed."""

    def __init__(self) -> None:
        self._usual = {True: 0, False: 0}  # values of a line of training, of evaluation
        self._shapes: dict[Shape, Shape] = {}  # one tuple for all lines
        self._bar: ProgressLine | None = None

    def records(self, line: str) -> Iterator[ProgressLine | Averages | str]:
        """What a line holds; more than one record where processes wrote into each other."""
        line = strip_escapes(line)
        if (bar := training_bar(line)) is not None:
            yield from self._state(bar)
            return
        for record, cut in records(line, _RECORD if sum(map(line.count, _WORDS)) > 1 else None):
            yield self._record(record, cut)

    def _state(self, bar: Bar) -> Iterator[ProgressLine]:
        """A line per percent of a bar, with the first numbers shown there: later ones run ahead of it."""
        values = _floats(tuple(map(metric_name, bar.numbers)), bar.numbers.values())
        seen = ProgressLine(bar.epoch, max(0, bar.done - 1), bar.total, values, {}, (), True, bar.epochs)
        last = self._bar
        if last is not None and (last.epoch, last.length) == (seen.epoch, seen.length):
            ahead = seen.iteration - last.iteration
            last.values = last.values or (values if ahead == 0 else {})
            if ahead == 0 or (0 < 100 * ahead < seen.length and seen.iteration < seen.length - 1):
                return
        self._bar = seen
        yield seen

    def _record(self, record: str, cut: bool) -> ProgressLine | Averages | str:
        if (found := _placed(record)) is not None:
            return self._progress(*found, record[found[0].end() :].rstrip(), cut)
        if "Averaged " in record and (match := _AVERAGED.search(record)):
            numbers = read_numbers(record[match.end() :], cut)
            whole = not (numbers.torn or cut or CLOCKS & numbers.values.keys())
            # What has no mean beside others that do is the last value (lr, class_error), not an average.
            means = (numbers.means or numbers.values) if whole else {}
            return Averages(means, tuple(numbers.values), evaluated=match[1] is not None)
        if "Acc@1 " in record and (match := _ACCURACY.search(record)):
            scores = {name.lower().replace("@", ""): float(text) for name, text in _SCORE.findall(record)}
            return Averages({} if cut else scores, tuple(scores), evaluated=True)
        return _PREFIX.sub("", record, count=1) if record.startswith("[") else record

    def _progress(self, place: re.Match[str], header: re.Match[str], text: str, cut: bool) -> ProgressLine:
        quoted = text.endswith("...")  # as documents shorten a line
        numbers = read_numbers(text, cut and not quoted)
        epoch = header[1] or ("0" if header[3] else None)
        training = epoch is not None
        whole = bool(numbers.values) and (quoted or self._is_whole(numbers, cut, training))
        shape = tuple((name, name in numbers.means) for name in numbers.values)
        last = int(place[1]) == int(place[2]) - 1
        return ProgressLine(
            epoch=int(epoch) if epoch is not None else None,
            iteration=int(place[1]),
            length=int(place[2]),
            values=numbers.values if training and whole else {},
            means=numbers.means if last and whole else {},
            shape=self._shapes.setdefault(shape, shape),
            whole=whole,
            epochs=1 if header[3] else int(header[2]) if header[2] else None,
        )

    def _is_whole(self, numbers: Numbers, cut: bool, training: bool) -> bool:
        """A line that was cut in its last value, which is left out, is as good as whole."""
        usual, count = self._usual[training], len(numbers.values)
        if cut or numbers.torn:
            return 0 < usual <= count + 1 if cut else usual <= count
        self._usual[training] = max(usual, count)
        return True


def _placed(record: str) -> tuple[re.Match[str], re.Match[str]] | None:
    """The `[10/1458]  eta: ` of a line and the header before it."""
    place = _PLACE.search(record) if "eta: " in record else None
    if place is None or int(place[1]) >= int(place[2]):
        return None
    header = _HEADER.search(record[max(0, place.start() - HEADER_LIMIT) : place.start()])
    return (place, header) if header else None


def read_numbers(text: str, cut: bool) -> Numbers:
    """`name: v (g)  name: v`; of a text that was cut, the last value only if it is whole."""
    text = text.rstrip()
    found: list[tuple[str, str, str]] = _VALUE.findall(text)[:VALUE_LIMIT]
    torn = len(found) != min(VALUE_LIMIT, text.count(": "))
    if cut and found and not found[-1][2] and text.endswith(found[-1][1]) and not _WHOLE.search(found[-1][1]):
        found.pop()
    if not found:
        return Numbers({}, {}, torn)
    raw, values, means = zip(*found, strict=True)
    names = tuple(map(_name, raw))
    if len(set(names)) < len(names):  # of two lines
        return Numbers({}, {}, True)
    numbers = _floats(names, values)
    return Numbers(numbers, _floats(names, means), torn or len(numbers) < len(names))


@lru_cache(maxsize=4096)
def _name(raw: str) -> str:
    return metric_name(_NAMES.get(raw, raw))


def _floats(names: Iterable[str], values: Iterable[str]) -> dict[str, float]:
    """Those of the values that are numbers."""
    pairs = ((name, number(value)) for name, value in zip(names, values, strict=True))
    return {name: value for name, value in pairs if value is not None}
