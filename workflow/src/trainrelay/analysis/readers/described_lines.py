"""Lines or rows as the user describes them (kind script): the log of one attempt a file, or all in one table.

Each rank may print its own line, so of a place in the training the first counts. Where a table goes
back, a start begins, and where a console goes far back: ranks do not print in step. Iterations are counted
from 1, whatever a file counts from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from trainrelay.analysis.readers.clean import metric_name
from trainrelay.analysis.readers.console import Tracebacks
from trainrelay.analysis.readers.events import (
    EpochsCounted,
    Event,
    Format,
    LineSkipped,
    ProcessStarted,
    RowSeen,
    SetupSeen,
)
from trainrelay.progress_lines.described import LineReader, LineSeen
from trainrelay.progress_lines.names import LOSS
from trainrelay.records import Marker, Phase

_PHASES: tuple[Phase, ...] = ("train", "epoch", "val")
_OF_RANKS = 4  # iterations that a rank may lag however few there were
_Place = tuple[int, int, int]  # epoch as printed, number of the phase, iteration


@dataclass
class _Start:
    """What one start logged."""

    rows: defaultdict[_Place, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    said: list[tuple[_Place, Event]] = field(default_factory=list)  # after which row
    last: _Place = (-1, 0, -1)
    at: tuple[int, int] = (-1, 0)  # epoch and iteration of the newest training line
    first: tuple[int, int] = (-1, 0)  # those of the first one
    highest: int = 0  # of the iterations
    running: _Place | None = None  # an evaluation of which more may follow, which counts
    iters: int | None = None
    by_iteration: bool = False

    def add(self, seen: LineSeen) -> None:
        self.by_iteration = seen.by_iteration and seen.epoch == 1
        self.iters = seen.iters or self.iters
        begun, done = self.at
        alone = seen.values and not (seen.evaluated or seen.by_iteration)
        if alone and begun == seen.epoch and 0 < done < (seen.iteration or 0):
            amid = self.rows.pop((begun, 2, 0), None)  # what was evaluated, while its epoch continues
            self.rows |= {(begun, 2, done): amid} if amid else {}
        if seen.values:
            at = seen.epoch, seen.iteration or 0
            self.first, self.at = at if self.at[0] < 0 else self.first, max(self.at, at)
        self.highest = max(self.highest, self.at[1])
        trained = (seen.epoch, int(seen.iteration is None), seen.iteration or 0)
        of_part = seen.by_iteration or seen.evaluates == "amid"
        evaluated = (seen.epoch - (seen.evaluates == "before"), 2, (seen.iteration or 0) if of_part else 0)
        for place, values in ((trained, seen.values), (evaluated, seen.evaluated)):
            if values:
                new, old = {metric_name(k): v for k, v in values.items()}, self.rows[place]
                self.rows[place] = old | new if place == self.running else new | old
                self.last = place
        self.running = evaluated if seen.evaluates == "running" else None

    def goes_back(self, seen: LineSeen) -> bool:
        """Whether a line is of a later start; the mean of an epoch comes after its iterations."""
        mean = seen.iteration is None and self.at[1] and seen.epoch == self.at[0]
        return bool(seen.values and not mean and (seen.epoch, seen.iteration or 0) <= self.at)

    def evaluated_again(self, seen: LineSeen) -> LineSeen:
        """A line that says metrics of a mean again, otherwise and without its loss, is of an evaluation
        (PaddleRec), whose batches are left out."""
        mean = self.rows.get((seen.epoch, 1, 0), {})
        same = bool(seen.values) and seen.values.keys() < mean.keys() and seen.values.items() - mean.items()
        if not same or any(map(LOSS.search, seen.values)) or not any(map(LOSS.search, mean)):
            return seen
        return replace(seen, values={}, evaluated={} if seen.iteration is not None else seen.values)

    def far_back(self, seen: LineSeen) -> bool:
        """Whether a line can only be of a later start: without an error a rank may lag by an eighth."""
        place = seen.epoch, seen.iteration or 0
        failed = self.said and self.said[-1][0] == self.last and isinstance(self.said[-1][1], Marker)
        if failed and self.at[0] >= 0 and place <= self.first:
            return True
        if seen.iteration is None or seen.epoch < self.at[0] - 1:  # no rank is two epochs behind
            return seen.epoch < self.at[0]
        lag = self.at[1] - seen.iteration if seen.epoch == self.at[0] else self.highest
        length = 0 if self.by_iteration or failed else self.iters or 0
        near = max(self.highest, length) >= 8 * lag or (lag <= _OF_RANKS and not failed)
        return 2 * seen.iteration < self.highest and place < self.at and not near

    def count_iterations(self) -> None:
        """Where those of an epoch continue those before, up to a total, the epochs count nothing."""
        spans = defaultdict[int, list[int]](list)
        for epoch, phase, at in self.rows:
            spans[epoch] += [] if phase else [at]
        trained = [sorted(of_epoch) for _, of_epoch in sorted(spans.items()) if of_epoch]
        back = sum(
            before[-1] >= after[0] for before, after in pairwise(trained)
        )  # a start that was cut short
        if not (self.iters and 50 * back < len(trained) > 1 and len(self.rows) > 2 * len(spans)):
            return
        rows, self.rows, last = sorted(self.rows.items()), defaultdict(dict), 0
        for (_, phase, at), values in rows:
            last = last if phase else at
            self.rows[1, phase, last] = values
        self.said = [((1, 0, place[2] or last), what) for place, what in self.said]
        self.by_iteration = True

    def events(self, first: int) -> Iterator[Event]:
        """In order of training, epochs and iterations counted from 1."""
        by = self.by_iteration
        every: list[tuple[_Place, Event | dict[str, float]]] = [*self.rows.items(), *self.said]
        # An evaluation of the whole epoch is after those amid it.
        every.sort(key=lambda one: one[0][::-1] if by else (*one[0][:2], one[0][1:] == (2, 0), one[0][2]))
        if by:
            for (_, phase, at), what in every:
                yield (
                    RowSeen(1, at, _PHASES[phase], what, None, max_iters=self.iters, by_iteration=True)
                    if isinstance(what, dict)
                    else what
                )
            return
        begun = min((epoch for epoch, *_ in self.rows), default=first)
        if done := max(0, begun - first):
            text = f"training continues with epoch {begun}"
            yield Marker("resumed", text, epoch=done, iteration=self.iters and done * self.iters)
        shift = int(any(place[1:] == (0, 0) for place in self.rows))
        for (epoch, phase, at), what in every:
            number, counted = at if phase else at + shift, epoch + 1 - first
            number = 0 if phase == 2 and at == self.iters else number  # evaluated where a bar is at its end
            yield (
                RowSeen(counted, number, _PHASES[phase], what, None, iters_per_epoch=self.iters)
                if isinstance(what, dict)
                else what
            )


class DescribedLines(Format):
    """The format of one trainer. `first`: what it calls the first epoch, where that is known; `guessed`:
    nobody described its lines."""

    name = "script"

    def __init__(
        self, reader: Callable[[], LineReader], first: int | None, *, one_start: bool, usual: str = ""
    ) -> None:
        self._reader, self._first, self._one_start, self.guessed = reader, first, one_start, bool(usual)
        self.title = usual or "lines that the run's script section describes"

    def claiming(self) -> Callable[[str], bool]:
        """A line that is described; one of a console has numbers of a training."""
        reader = self._reader()

        def claims(line: str) -> bool:
            seen = reader.line(line)
            return seen is not None and bool(seen.values or not self.guessed)

        return claims

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """All of a file at once."""
        reader, errors = self._reader(), Tracebacks()

        def seen() -> Iterator[LineSeen | Event]:
            for line in lines:
                if (found := reader.line(line)) is not None:
                    yield found
                else:
                    yield from errors.line(line.rstrip())

        yield from self.told(seen())
        yield from (LineSkipped() for _ in range(sum(reader.slow.values())))

    def rows(self) -> Callable[[str], Iterable[RowSeen]]:
        """A row for each line, of one start."""
        reader, start, first = self._reader(), _Start(), 1 if self._first is None else self._first

        def of_line(line: str) -> Iterator[RowSeen]:
            nonlocal first
            if seen := reader.line(line):
                first = min(first, seen.epoch)
                start.rows.clear()
                start.add(seen)
                yield from (one for one in start.events(first) if isinstance(one, RowSeen))

        return of_line

    def told(self, every: Iterable[LineSeen | Event | None]) -> Iterator[Event]:
        """Of what the lines of a file say."""
        starts, from_zero = [_Start()], False
        for one in every:
            if not isinstance(one, LineSeen):
                starts[-1].said += [(starts[-1].last, one)] if one else []
                continue
            seen = starts[-1].evaluated_again(one) if self.guessed else one
            back = starts[-1].goes_back(seen) and not self._one_start
            if seen.values and starts[-1].far_back(seen) if self.guessed else back:
                starts.append(_Start())
            starts[-1].add(seen)
            if seen.epochs:  # Lightning's rich bars: of 4 epochs, from 0/3 to 3/3
                from_zero |= seen.epoch == 0 and bool(seen.values)
                more = int(from_zero and seen.epoch == seen.epochs and bool(seen.values))
                starts[-1].said.append((starts[-1].last, SetupSeen(max_epochs=seen.epochs + more)))
        for start in starts if self.guessed else ():
            start.count_iterations()
        epochs = [epoch for start in starts for epoch, *_ in start.rows]
        for start in starts:
            start.by_iteration &= max(epochs, default=1) == 1  # bars may count epochs
        first = min([1, *epochs]) if self._first is None else self._first
        sure = self._first is not None or not first
        if not any(start.by_iteration for start in starts):
            yield EpochsCounted(first if sure else None, taken=1)
        for number, start in enumerate(starts):
            yield from [ProcessStarted()] if number else []
            yield from start.events(first)
