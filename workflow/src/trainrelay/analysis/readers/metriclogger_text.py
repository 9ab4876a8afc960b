"""MetricLogger text (DETR, DeiT, MAE, torchvision's references, RoomFormer), from a console log.

Rows of training hold the first number of each `v (g)`, the median of the last 20 iterations. The mean of an
epoch comes from `Averaged stats:` after its training lines, that of an evaluation from the same after its
`Test:` lines; without it from the parentheses of the block's last line [N-1/N]. A block that was cut before
that has no mean. An evaluation belongs to the training before it; one of the initial weights is left out.
Summaries add what these rows do not have. Starts and copies are told apart in `starts`.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.analysis.readers import metriclogger_markers, summaries
from trainrelay.analysis.readers.epoch_count import EpochCount
from trainrelay.analysis.readers.events import Event, ProcessStarted, SetupSeen
from trainrelay.analysis.readers.metriclogger_lines import Averages, LineReader, ProgressLine, is_ours
from trainrelay.analysis.readers.metriclogger_table import in_order
from trainrelay.analysis.readers.starts import StartFinder
from trainrelay.records import Marker


class MetricLoggerText:
    """The format of what DETR's `util.misc.MetricLogger` prints, and of summaries of epochs."""

    name = "metriclogger-text"
    title = "MetricLogger text"

    def claims(self, line: str) -> bool:
        """A line of progress, an introduction of the family's trainers, or a summary of an epoch."""
        return is_ours(line) or metriclogger_markers.introduces(line) or summaries.opens(line)

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """All of a file at once: only the whole of it tells ranks from restarts."""
        file = _File()
        for line in lines:
            file.line(line)
        return iter(file.events())


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
                case Marker(kind="started"):
                    self._starts.started(self._at, "started", event)
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
