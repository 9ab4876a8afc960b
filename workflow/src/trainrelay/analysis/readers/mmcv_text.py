"""mmcv text (TextLoggerHook), from mmcv's own log file or from a console log with everything else in it.

The lines of numbers:

    2022-06-19 13:40:00,011 - mmdet - INFO - Epoch [1][50/3517]<TAB>lr: 7.973e-05, eta: 2 days, 5:46:49, ...
    2022-06-19 13:40:00,011 - mmdet - INFO - Epoch(val) [6][753]<TAB>mAP: 0.2318, ...
    2022-06-19 13:40:00,011 - mmseg - INFO - Iter [50/320000]<TAB>lr: 9.799e-07, eta: ...

Before mmcv 1.1.1 an evaluation has the head of a training row, and after it neither a time nor a loss:

    2020-07-09 21:04:13,452 - mmseg - INFO - Iter [4000/40000]<TAB>lr: 9.1e-03, mIoU: 0.7071, mAcc: 0.7825
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from trainrelay.analysis.readers.clean import evaluates, metric_name, metric_names, records, strip_escapes
from trainrelay.analysis.readers.events import Event, Format, LineSkipped, ProcessStarted, RowSeen
from trainrelay.analysis.readers.mmcv_markers import MmcvMarkers
from trainrelay.records import Marker, Numbers

_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - ")
_BY_EPOCH = re.compile(r"\bEpoch \[(\d{1,9})\]\[(\d{1,9})/(\d{1,9})\]\s+(?=lr)")
_BY_ITERATION = re.compile(r"\bIter \[(\d{1,12})/(\d{1,12})\]\s+(?=lr)")
_VALIDATION = re.compile(r"\b(?:Epoch\(val\) \[(\d{1,9})\]|Iter\(val\) )\[(\d{1,9})\]\s+")
_ETA = re.compile(r"(?<!\S)eta: (?:\d+ days?, )?\d+:\d\d:\d\d, ")
_RATES = re.compile(r"(lr_\S+): (\S+)")
_WHOLE_VALUE = re.compile(r"(?:\.\d{4}|nan|inf)\s*$")
SOON_S = 10.0  # a process that starts again needs longer to print the same again
_INTRODUCTIONS = ("Environment info:", "Start running, host: ", "Distributed training: ")


class MmcvText(Format):
    """The format of mmcv's `*.log` files and of what an mmcv trainer prints."""

    name = "mmcv-text"
    title = "mmcv text"

    def claims(self, line: str) -> bool:
        """A line of numbers, or a line with which an mmcv trainer introduces itself."""
        if any(words in line for words in _INTRODUCTIONS):
            return _STAMP.search(line) is not None
        return _head(line) is not None

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """Rows through `_Rows`, all other lines through MmcvMarkers; copies are left out."""
        yield from events_of(lines, _STAMP, _head, _Rows().read, MmcvMarkers())


def events_of(
    lines: Iterator[str],
    stamped: re.Pattern[str],
    head_of: Callable[[str], re.Match[str] | None],
    row: Callable[[str, re.Match[str], bool], Event | None],
    narrator: MmcvMarkers,
) -> Iterator[Event]:
    """What the records of a file say: lines of numbers by their heads, all else by the narrator."""
    copies = Copies()
    for line in lines:
        beginning = stamped if line.count(" - INFO - ") > 1 else None
        for record, cut in records(strip_escapes(line), beginning):
            is_stamped, head = stamped.search(record) is not None, head_of(record)
            if is_stamped or head is not None:
                yield from narrator.ended()
            if head is None:
                yield from copies.without(narrator.line(record, is_stamped), record)
            elif (seen := row(record, head, cut)) is not None:
                yield from copies.without([seen], record)
    yield from narrator.ended()


def _head(line: str) -> re.Match[str] | None:
    if "Epoch [" in line:
        return _BY_EPOCH.search(line)
    if "Iter [" in line:
        return _BY_ITERATION.search(line)
    if "(val) [" in line:
        return _VALIDATION.search(line)
    return None


class _Rows:
    """Reads lines of numbers; remembers how many values a training line has, to notice a cut one."""

    def __init__(self) -> None:
        self._usual = 0

    def read(self, line: str, head: re.Match[str], cut: bool) -> Event:
        values, torn = _values(line[head.end() :])
        if head.re is _VALIDATION:
            return _validation(head, values, _key(line))
        if not cut and evaluates(tuple(values)):
            metrics = {name: value for name, value in values.items() if not name.startswith("lr")}
            return replace(_training(head, metrics, _key(line)), phase="val")
        shorter = len(values) < self._usual
        if not values or ((torn or cut) and shorter) or (cut and not _WHOLE_VALUE.search(line)):
            return LineSkipped()
        self._usual = len(values)
        return _training(head, values, _key(line))


def _key(line: str) -> int | None:
    """Only a time stamp makes two equal lines copies of each other."""
    return hash(line.rstrip()) if _STAMP.search(line) else None


def _training(head: re.Match[str], values: Mapping[str, float], key: int | None) -> RowSeen:
    if head.re is _BY_EPOCH:
        epoch, iteration, length = (int(text) for text in head.groups())
        return RowSeen(epoch, iteration, "train", values, key, iters_per_epoch=length)
    iteration, length = (int(text) for text in head.groups())
    return RowSeen(1, iteration, "train", values, key, max_iters=length, by_iteration=True)


def _validation(head: re.Match[str], values: Mapping[str, float], key: int | None) -> RowSeen:
    by_iteration = head[1] is None
    epoch = 1 if by_iteration else int(head[1])
    return RowSeen(epoch, int(head[2]), "val", values, key, by_iteration=by_iteration)


def _values(text: str) -> tuple[Mapping[str, float], bool]:
    """`name: value, name: value` -> values, and whether something was there that is neither."""
    pairs = [piece.partition(": ") for piece in _ETA.sub("", text.rstrip(), 1).split(", ")]
    names, _, numbers = zip(*pairs, strict=True)
    with suppress(ValueError):
        if _plain(names):
            return Numbers(metric_names(names), map(float, numbers)), False
    return _odd_values(pairs)


@lru_cache(maxsize=64)
def _plain(names: tuple[str, ...]) -> bool:
    """Whether each of them is a metric apart from the others."""
    return all(name and name != "eta" and not name.startswith("lr_") for name in names)


def _odd_values(pairs: list[tuple[str, str, str]]) -> tuple[dict[str, float], bool]:
    values: dict[str, float] = {}
    torn = "".join(pairs[-1]).endswith(",")
    for name, colon, number in pairs:
        if not colon:
            torn = torn or name.count(":") != 2
        elif name.startswith("lr_"):
            values.update(_rates(name + colon + number))
        elif name != "eta":
            try:
                values[metric_name(name)] = float(number)
            except ValueError:
                torn = True
    values.pop("", None)
    return values, torn


def _rates(piece: str) -> dict[str, float]:
    """`lr_backbone: 2.0e-04 lr_head: 1.0e-04` -> each one, and the first as `lr` too."""
    try:
        rates = {metric_name(name): float(number) for name, number in _RATES.findall(piece)}
    except ValueError:
        return {}
    return {"lr": next(iter(rates.values())), **rates} if rates else {}


class Copies:
    """Leaves out what is there twice: each line doubled, or two processes that write into one file.

    That is no restart: a process that starts again introduces itself before it logs the same iteration again.
    """

    def __init__(self) -> None:
        self._said_s: dict[tuple[str, str], float] = {}  # since the last row or error
        self._place: tuple[int, int] | None = None  # of the last training row of this start

    def without(self, events: Iterable[Event], record: str) -> Iterator[Event]:
        """Those of a record's events that are no copies."""
        for event in events:
            match event:
                case RowSeen():
                    copied = self._copied_row(event)
                case ProcessStarted():
                    copied = self._copied(("process", ""), record)
                case Marker(kind="error"):
                    copied = False
                    self._said_s.clear()
                case Marker():
                    copied = self._copied((event.kind, event.text), record)
                case _:
                    copied = False
            if not copied:
                yield event

    def _copied_row(self, row: RowSeen) -> bool:
        self._said_s.clear()
        if row.phase != "train":
            return False
        before, self._place = self._place, (row.epoch, row.iteration)
        return self._place == before

    def _copied(self, words: tuple[str, str], record: str) -> bool:
        at_s = _seconds(record)
        if at_s is not None and abs(at_s - self._said_s.get(words, float("-inf"))) <= SOON_S:
            return True
        if at_s is not None:
            self._said_s[words] = at_s
        if words[0] != "saved":
            self._place = None
        return False


def _seconds(record: str) -> float | None:
    """The time stamp of a record."""
    stamp = _STAMP.search(record)
    try:
        return (
            datetime.fromisoformat(stamp[0].removesuffix(" - ")).replace(tzinfo=UTC).timestamp()
            if stamp
            else None
        )
    except ValueError:
        return None
