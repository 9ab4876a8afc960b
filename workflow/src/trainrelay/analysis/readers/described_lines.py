"""Lines or rows as the user describes them (kind script): the log of one attempt a file, or all in one table.

Each rank may print a line of its own, so of a place in the training the first counts. Where a table goes back, a
start begins. Iterations are counted from 1, whatever a file counts from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from trainrelay.analysis.readers.clean import metric_name
from trainrelay.analysis.readers.console import Tracebacks
from trainrelay.analysis.readers.events import (
    EpochsCounted,
    Event,
    LineSkipped,
    ProcessStarted,
    RowSeen,
    SetupSeen,
)
from trainrelay.progress_lines.described import LineReader, LineSeen
from trainrelay.records import Marker, Phase

_ORDER: tuple[Phase, ...] = ("train", "epoch", "val")
_Place = tuple[int, int, int]  # epoch as printed, order of the phase, iteration


@dataclass
class _Start:
    """What one start logged. `from_zero`: it counts iterations from 0."""

    rows: defaultdict[_Place, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    iters: int | None = None
    epochs: int | None = None
    from_zero: bool = False

    def add(self, seen: LineSeen) -> None:
        """Takes a line."""
        self.iters, self.epochs = seen.iters or self.iters, seen.epochs or self.epochs
        if seen.values:
            self.from_zero |= seen.iteration == 0
            order = 1 if seen.iteration is None else 0
            self._put((seen.epoch, order, seen.iteration or 0), seen.values)
        if seen.evaluated:
            self._put((seen.epoch, 2, 0), seen.evaluated)

    def _put(self, place: _Place, values: Mapping[str, float]) -> None:
        self.rows[place] = {metric_name(name): value for name, value in values.items()} | self.rows[place]

    def goes_back(self, seen: LineSeen) -> bool:
        """Whether a line can only be of a later start."""
        trained = [(epoch, iteration) for epoch, order, iteration in self.rows if order < 2]
        return bool(seen.values) and bool(trained) and (seen.epoch, seen.iteration or 0) <= max(trained)

    def events(self, first: int) -> Iterator[Event]:
        """In order of training, epochs and iterations counted from 1."""
        begun = min((epoch for epoch, *_ in self.rows), default=first)
        if (done := begun - first) > 0:
            text = f"training continues with epoch {begun}"
            yield Marker("resumed", text, epoch=done, iteration=done * (self.iters or 0))
        for (epoch, order, iteration), values in sorted(self.rows.items()):
            number = iteration + (1 if self.from_zero and order == 0 else 0)
            yield RowSeen(epoch + 1 - first, number, _ORDER[order], values, None, iters_per_epoch=self.iters)


class DescribedLines:
    """The format of one trainer. `first`: what it calls the first epoch, where that is known."""

    name = "script"
    title = "lines that the run's script section describes"

    def __init__(self, reader: Callable[[], LineReader | None], first: int | None, *, one_start: bool) -> None:
        self._reader, self._first, self._one_start = reader, first, one_start
        self._claiming = self._new_reader()

    def _new_reader(self) -> LineReader:
        reader = self._reader()
        assert reader, "only of trainers whose lines are described"
        return reader

    def claims(self, line: str) -> bool:
        """A line that is described."""
        return self._claiming.line(line) is not None

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """All of a file at once."""
        starts, reader, errors = [_Start()], self._new_reader(), Tracebacks()
        said: list[Event] = []
        for line in lines:
            if (seen := reader.line(line)) is None:
                said += errors.line(line.rstrip())
                continue
            if not self._one_start and starts[-1].goes_back(seen):
                starts.append(_Start())
            starts[-1].add(seen)
        first = self._first if self._first is not None else _first(starts)
        yield EpochsCounted(first)
        yield SetupSeen(max_epochs=starts[-1].epochs)
        for number, start in enumerate(starts):
            yield from [ProcessStarted()] if number else []
            yield from start.events(first)
        yield from said
        yield from (LineSkipped() for _ in range(sum(reader.slow.values())))


def _first(starts: list[_Start]) -> int:
    """0 where an epoch 0 is there, else 1 where it is the first."""
    return min(1, min((epoch for start in starts for epoch, *_ in start.rows), default=1))
