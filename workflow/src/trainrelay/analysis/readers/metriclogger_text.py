"""MetricLogger text (DETR, DeiT, MAE, torchvision's references, RoomFormer), from a console log.

Rows of training hold the first number of each `v (g)`, the median of the last 20 iterations. The mean of an
epoch comes from `Averaged stats:` after its training lines, that of an evaluation from the same after its
`Test:` lines; without it from the parentheses of the block's last line [N-1/N]. A block that was cut before
that has no mean. An evaluation belongs to the training before it; one of the initial weights is left out.
Summaries add what these rows do not have. Starts and copies are told apart in `starts`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainrelay.analysis.readers import metriclogger_markers, summaries
from trainrelay.analysis.readers.events import (
    EpochsCounted,
    Event,
    Format,
    LineSkipped,
    ProcessStarted,
    RowSeen,
    SetupSeen,
)
from trainrelay.analysis.readers.metriclogger_lines import Averages, LineReader, ProgressLine, is_ours
from trainrelay.analysis.readers.starts import Introduction, StartFinder, TrainedStart
from trainrelay.analysis.readers.summaries import SummaryNumber
from trainrelay.records import Marker, Phase


class MetricLoggerText(Format):
    """The format of what DETR's `util.misc.MetricLogger` prints, and of summaries of epochs."""

    name = "metriclogger-text"
    title = "MetricLogger text"

    def claims(self, line: str) -> bool:
        """A line of progress, an introduction of the family's trainers, or a summary of several lines."""
        block = "Summary" in line and summaries.opens(line)  # one of a line is as those of many trainers
        return is_ours(line) or metriclogger_markers.introduces(line) or block

    def claiming(self) -> Callable[[str], bool]:
        """Below a line of the family's, any summary is."""
        begun = False

        def claims(line: str) -> bool:
            nonlocal begun
            begun = begun or is_ours(line)
            return self.claims(line) or (begun and summaries.opens(line))

        return claims

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """All of a file at once: only the whole of it tells ranks from restarts."""
        file = _File()
        for line in lines:
            file.line(line)
        return iter(file.events())

    def rows(self) -> Callable[[str], Iterable[RowSeen]]:
        """Those of training."""
        reader, count = LineReader(), EpochCount()

        def of_line(line: str) -> Iterator[RowSeen]:
            for seen in reader.records(line):
                if isinstance(seen, ProgressLine) and seen.epoch is not None and seen.values:
                    count.header(seen.epoch)
                    epoch = seen.epoch + 1 - (count.first() or 0)
                    yield _row(epoch, seen.iteration, "train", seen.values, seen.length)

        return of_line


class _File:
    """Follows the records of a file, which are counted: `at` is the place of an event."""

    def __init__(self) -> None:
        self._at = 0
        self._epochs: int | None = None
        self._said: list[tuple[int, Event]] = []
        self._summed: list[tuple[int, summaries.SummaryNumber]] = []
        self._reader = LineReader()
        self._summaries = summaries.SummaryReader()
        self._narrator = metriclogger_markers.MetricLoggerMarkers()
        self._starts = StartFinder()
        self._count = EpochCount()

    def line(self, line: str) -> None:
        """Reads one line."""
        for record in self._reader.records(line):
            self._at += 1
            match record:
                case ProgressLine():
                    self._progress(record)
                case Averages():
                    self._starts.averages(self._at, record)
                case text:
                    self._text(text)

    def events(self) -> list[Event]:
        """The events of all that was read."""
        self._hear(self._narrator.ended())
        return in_order(self._said, self._count.first(), *self._starts.finished(), self._summed)

    def _progress(self, seen: ProgressLine) -> None:
        self._summaries.ended()
        if seen.epoch is not None:
            self._count.header(seen.epoch)
        if seen.epochs != self._epochs:
            self._epochs = seen.epochs
            self._count.arguments({}, seen.epochs)
            self._said.append((self._at, SetupSeen(max_epochs=seen.epochs)))
        self._starts.progress(self._at, seen)

    def _text(self, text: str) -> None:
        for said in self._summaries.line(text):
            self._count.summary(said.number)
            self._summed.append((self._at, said))
        self._hear(self._narrator.line(text))

    def _hear(self, events: Iterator[Event]) -> None:
        for event in events:
            match event:
                case ProcessStarted(rank=rank):
                    self._starts.started(self._at, "arguments" if rank is None else rank)
                case Marker(kind="started" | "resumed" as kind):
                    self._starts.started(self._at, kind, event)
                case Marker(kind="loaded"):
                    if self._starts.open:  # what is loaded after training, to be evaluated, begins none
                        self._starts.started(self._at, "loaded", event)
                case _:
                    self._note(event)

    def _note(self, event: Event) -> None:
        if isinstance(event, Marker) and event.kind == "error":
            self._starts.failed()
        if isinstance(event, SetupSeen):
            self._count.arguments(event.config, event.max_epochs)
            self._starts.counted(metriclogger_markers.world_size(event.config) or 1)
        self._said.append((self._at, event))


class EpochCount:
    """Gathers the proofs of one file.

    A header [0] proves 0. Of the first summary after each header (summaries count from 1) the same number
    counts for 1, the next one for 0. A header [N] of N epochs proves 1, as does a header [1] with which a
    start begins that resumes nothing.
    """

    def __init__(self) -> None:
        self._headers: set[int] = set()
        self._awaiting: int | None = None
        self._votes = {0: 0, 1: 0}
        self._epochs = 0
        self._fresh = False

    def header(self, epoch: int) -> None:
        """A progress line of training."""
        if self._fresh and epoch == 1:
            self._votes[1] += 1
        self._fresh = False
        if epoch not in self._headers or self._awaiting is not None:
            self._awaiting = epoch
        self._headers.add(epoch)

    def summary(self, number: int) -> None:
        """A number of a summary, as it counts from 1."""
        if self._awaiting is not None and number - self._awaiting in (0, 1):
            self._votes[1 - (number - self._awaiting)] += 1
        self._awaiting = None

    def arguments(self, config: Mapping[str, Any], epochs: int | None) -> None:
        """The trainer's arguments, printed before it trains."""
        self._epochs = max(self._epochs, epochs or 0)
        if "resume" in config:
            self._fresh = not config["resume"] and not config.get("start_epoch")

    def first(self) -> int | None:
        """0 or 1; None where nothing proves either."""
        if 0 in self._headers:
            return 0
        if self._votes[0] != self._votes[1]:
            return 0 if self._votes[0] > self._votes[1] else 1
        return 1 if self._epochs and self._epochs in self._headers else None


Placed = tuple[int, Event]  # an event and its record in the file

_ORDER: dict[Phase, int] = {"train": 0, "epoch": 1, "val": 2}


@dataclass(slots=True)
class _Part:
    """What belongs to one start: by epoch, order of the phase, and iteration or number of the evaluation.
    `first` is its first record, `length` an epoch's."""

    first: int
    length: int | None = None
    rows: dict[tuple[int, int, int], tuple[int, RowSeen | None]] = field(default_factory=dict)

    def mean(self, at: int, epoch: int, phase: Phase, number: int, values: Mapping[str, float]) -> None:
        """Places the means of an epoch or of an evaluation."""
        row = _row(epoch, (self.length or 1) - 1, phase, values, self.length)
        self.rows[epoch, _ORDER[phase], number] = (at, row)

    def say(self, at: int, epoch: int, said: SummaryNumber) -> None:
        """Takes a number of a summary, of the last evaluation of its epoch; it replaces none."""
        phase: Phase = "epoch" if said.phase == "train" else "val"
        number = 0
        while (epoch, _ORDER[phase], number + 1) in self.rows:
            number += 1
        at, row = self.rows.get((epoch, _ORDER[phase], number), (at, None))
        values = row.values if row else {}
        self.mean(at, epoch, phase, number, {**values, said.name: values.get(said.name, said.value)})

    def events(self) -> Iterator[Placed]:
        """In order of training, at places of the file that do not go back; a row of None was lost."""
        at = self.first
        for key in sorted(self.rows):
            seen_at, row = self.rows[key]
            at = max(at, seen_at)
            yield at, LineSkipped() if row is None else row


def in_order(
    said: Iterable[Placed],
    counted: int | None,
    trained: Sequence[TrainedStart],
    untrained: Iterable[Introduction],
    summed: Sequence[tuple[int, SummaryNumber]],
) -> list[Event]:
    """All events of a file; headers count epochs from `counted`, None where nothing proves it."""
    shift = 1 - (counted or 0)
    events = [*said, *(event for start in untrained for event in _introduced(start))]
    parts: list[_Part] = []
    for start in trained:
        events += _begun(start, bool(parts), shift)
        parts.append(_part(start, shift))
    for part in _summarized(parts, summed):
        events += part.events()
    if trained:
        events.append((-1, EpochsCounted(counted)))
    if (ranks := max((start.printing() for start in trained), default=1)) > 1:
        events.append((-1, SetupSeen(setup={"ranks printing": str(ranks)})))
    return [event for _, event in sorted(events, key=lambda placed: placed[0])]


def _introduced(start: Introduction) -> Iterator[Placed]:
    yield start.at, ProcessStarted()
    yield from ((start.at, marker) for marker in start.markers.values())


def _begun(trained: TrainedStart, again: bool, shift: int) -> Iterator[Placed]:
    """A start whose first line is of a later epoch resumed, whether it prints that or not."""
    if trained.start is not None:
        yield from _introduced(trained.start)
    elif again:
        yield trained.at, ProcessStarted()
    _, seen = trained.rows()[0]
    finished = (seen.epoch or 0) + shift - 1
    if finished > 0 and (trained.start is not None or again):
        text = f"training continues with Epoch: [{seen.epoch}]"
        yield trained.at, Marker("resumed", text, epoch=finished, iteration=finished * seen.length)


def _part(trained: TrainedStart, shift: int) -> _Part:
    lines = trained.rows()
    part = _Part(trained.at, lines[-1][1].length)
    for at, seen in lines:
        row = _row((seen.epoch or 0) + shift, seen.iteration, "train", seen.values, seen.length)
        if seen.values or not seen.whole:  # a bar may show no numbers
            part.rows[row.epoch, _ORDER["train"], row.iteration] = (at, row if seen.whole else None)
    for (epoch, phase, number), mean in trained.averaged().items():
        part.mean(mean.at, epoch + shift, phase, number, mean.values)
    return part


def _row(
    epoch: int, iteration: int, phase: Phase, values: Mapping[str, float], length: int | None
) -> RowSeen:
    return RowSeen(epoch, iteration, phase, values, None, iters_per_epoch=length, from_zero=True)


def _summarized(parts: list[_Part], summed: Sequence[tuple[int, SummaryNumber]]) -> list[_Part]:
    """Gives each summary to the start in which it was printed, or to a separate one before all others."""
    shift = 1 if any(said.number == 0 for _, said in summed) else 0
    firsts = [part.first for part in parts]
    alone: list[_Part] = []
    last = 0
    for at, said in summed:
        before = bisect_right(firsts, at)
        if not before and (not alone or said.number < last):
            alone.append(_Part(at))
        last = said.number
        (parts[before - 1] if before else alone[-1]).say(at, said.number + shift, said)
    return [*parts, *alone]
