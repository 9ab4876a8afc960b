"""Lines or rows as the user describes them (kind script): the log of one attempt a file, or all in one table.

Each rank may print its own line, so of a place in the training the first counts. Where a table goes
back, a start begins, and where a console goes far back: ranks do not print in step. Iterations are counted
from 1, whatever a file counts from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
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

_PHASES: tuple[Phase, ...] = ("train", "epoch", "val")
_Place = tuple[int, int, int]  # epoch as printed, number of the phase, iteration


@dataclass
class _Start:
    """What one start logged."""

    rows: defaultdict[_Place, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    at: tuple[int, int] = (-1, 0)  # epoch and iteration of the newest training line
    highest: int = 0  # of the iterations
    iters: int | None = None
    by_iteration: bool = False

    def add(self, seen: LineSeen) -> None:
        self.by_iteration = seen.by_iteration
        self.iters = seen.iters or self.iters
        self.at = (seen.epoch, seen.iteration or 0) if seen.values else self.at
        self.highest = max(self.highest, self.at[1])
        trained = (seen.epoch, int(seen.iteration is None), seen.iteration or 0)
        # Of an epoch, or after this iteration.
        evaluated = (seen.epoch, 2, (seen.iteration or 0) if seen.by_iteration else 0)
        for place, values in ((trained, seen.values), (evaluated, seen.evaluated)):
            if values:
                self.rows[place] = {metric_name(k): v for k, v in values.items()} | self.rows[place]

    def far_back(self, seen: LineSeen) -> bool:
        """Whether a line of a console can only be of a later start."""
        if seen.iteration is None:
            return seen.epoch < self.at[0]
        return (seen.epoch, seen.iteration) < self.at and 2 * seen.iteration < self.highest

    def events(self, first: int) -> Iterator[Event]:
        """In order of training, epochs and iterations counted from 1."""
        if self.by_iteration:
            for (_, phase, at), values in sorted(self.rows.items(), key=lambda row: (row[0][2], row[0][1])):
                yield RowSeen(1, at, _PHASES[phase], values, None, max_iters=self.iters, by_iteration=True)
            return
        begun = min((epoch for epoch, *_ in self.rows), default=first)
        if done := max(0, begun - first):
            text = f"training continues with epoch {begun}"
            yield Marker("resumed", text, epoch=done, iteration=self.iters and done * self.iters)
        shift = int(any(place[1:] == (0, 0) for place in self.rows))
        for (epoch, phase, at), values in sorted(self.rows.items()):
            number = at if phase else at + shift
            yield RowSeen(epoch + 1 - first, number, _PHASES[phase], values, None, iters_per_epoch=self.iters)


class DescribedLines:
    """The format of one trainer. `first`: what it calls the first epoch, where that is known."""

    name = "script"

    def __init__(
        self, reader: Callable[[], LineReader], first: int | None, *, one_start: bool, usual: str = ""
    ) -> None:
        self._reader, self._first, self._one_start, self._console = reader, first, one_start, bool(usual)
        self.title = usual or "lines that the run's script section describes"
        self._claiming = reader()

    def claims(self, line: str) -> bool:
        """A line that is described."""
        return self._claiming.line(line) is not None

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """All of a file at once."""
        starts, reader, errors = [_Start()], self._reader(), Tracebacks()
        said: list[Event] = []
        for line in lines:
            if (seen := reader.line(line)) is None:
                said += errors.line(line.rstrip())
                continue
            said += [SetupSeen(max_epochs=seen.epochs)] if seen.epochs else []
            back = (seen.epoch, seen.iteration or 0) <= starts[-1].at
            back = starts[-1].far_back(seen) if self._console else back and not self._one_start
            if seen.values and back:
                starts.append(_Start())
            starts[-1].add(seen)
        epochs = [epoch for start in starts for epoch, *_ in start.rows]
        first = min([1, *epochs]) if self._first is None else self._first
        yield EpochsCounted(first)
        for number, start in enumerate(starts):
            yield from [ProcessStarted()] if number else []
            yield from start.events(first)
        yield from said
        yield from (LineSkipped() for _ in range(sum(reader.slow.values())))
