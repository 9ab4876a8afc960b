"""Progress lines of one file -> starts of the trainer, each line once.

A file may hold several starts one after the other (appended runs, resumes), and each line of a start once per
rank, where every rank prints: exactly interleaved, or in pieces as each rank's buffer was written. The lines
say neither, so they are dealt out to streams, a stream being what one process printed:

- A line goes to the stream that it continues without a gap, the one that was written to last before others;
  else to the one that was written to last, if it moves that one forward.
- A line that moves no stream forward begins a new one if it is the first of an epoch, or if a process
  introduced itself before it. Any other jump back is a copy of which the stream is not known.
- A first line of an epoch that comes after an introduction and is further than every stream is a resume.
- Streams that overlap in the file are ranks of one start: of each line the first whole copy counts. Streams
  that do not overlap are starts of their own, unless only the first of them was introduced, or with other
  ranks. So where no rank says which it is, two of them whose whole output was written one after the other
  look like two runs, and are read as such.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from trainrelay.logs.events import MarkerSeen
from trainrelay.logs.metriclogger_lines import CLOCKS, Averages, Progress
from trainrelay.logs.starts import Start

UNLIKE = 2
SOON = 5  # lines that a start may have printed before the first one of its next rank
CANDIDATES = 64  # streams that a line may belong to: ranks that print into one file


@dataclass(frozen=True, slots=True)
class Mean:
    """The means of an epoch, or of the `ordinal`-th evaluation after it. `line`: the progress line that they
    were taken from, None where they were printed as a line of their own. `doubtful`: not the metrics of the
    block before."""

    at: int
    epoch: int
    phase: Literal["epoch", "val"]
    ordinal: int
    values: Mapping[str, float]
    line: Progress | None = None
    doubtful: bool = False


@dataclass(slots=True)
class Stream:
    """What one process printed; `line` is its newest progress line, `place` that of training.

    `summed`: the means of the block that `line` belongs to are known.
    """

    start: Start | None
    resumed: bool
    first: int
    last: int
    line: Progress
    place: tuple[int, int]
    length: int
    rows: list[tuple[int, Progress]] = field(default_factory=list)
    means: list[Mean] = field(default_factory=list)
    summed: bool = False
    evaluations: int = 0

    def continued_by(self, seen: Progress) -> bool:
        """Whether a line comes next, with nothing missing but lines inside its block."""
        if seen.epoch is None:
            if seen.iteration == 0:
                return self.line.last
            same = self.line.epoch is None and self.line.length == seen.length
            return same and self.line.iteration < seen.iteration
        evaluating = self.line.epoch is None and not self.line.last
        if seen.length != self.length or evaluating:
            return False
        if seen.iteration == 0:
            return seen.epoch == self.place[0] + 1 and self.place[1] == self.length - 1
        return seen.epoch == self.place[0] and seen.iteration > self.place[1]

    def advanced_by(self, seen: Progress) -> bool:
        """Whether a line is further than all before, with whatever missing between."""
        if seen.epoch is None:
            return self.line.epoch is not None or seen.iteration == 0 or seen.iteration > self.line.iteration
        return seen.place > self.place

    def evaluated(self) -> tuple[bool, bool]:
        """Smaller for a stream that awaits its evaluation than for one that would begin another one."""
        return self.line.epoch is None, not self.summed

    def add(self, at: int, seen: Progress) -> None:
        """Takes a line that continues or advances it."""
        if self._ends_block(seen):
            self.close()
            self.summed = False
        if seen.epoch is not None:
            self.evaluations = self.evaluations if seen.epoch == self.place[0] else 0
            self.place, self.length = seen.place, seen.length
            self.rows.append((at, seen))
        self.line, self.last = seen, at

    def _ends_block(self, seen: Progress) -> bool:
        return seen.epoch != self.line.epoch or (seen.epoch is None and seen.iteration <= self.line.iteration)

    def sum_up(self, at: int, averages: Averages) -> None:
        """Takes the means of the block at hand."""
        doubtful = self.fits(averages, None)[0] > 0
        self._add_mean(Mean(at, *self._block(), averages.values, doubtful=doubtful))

    def evaluate(self, at: int, averages: Averages) -> None:
        """Takes the means of an evaluation after the block at hand."""
        self._add_mean(Mean(at, self.place[0], "val", self.evaluations, averages.values))

    def _block(self) -> tuple[int, Literal["epoch", "val"], int]:
        if self.line.epoch is None:
            return self.place[0], "val", self.evaluations
        return self.place[0], "epoch", 0

    def _add_mean(self, mean: Mean) -> None:
        self.means.append(mean)
        self.evaluations += mean.phase == "val"
        self.summed, self.last = True, mean.at

    def close(self) -> None:
        """The block is over: without means of its own, those of its last line count."""
        if not self.summed and self.line.last and self.line.means:
            self._add_mean(Mean(self.last, *self._block(), self.line.means, self.line))

    def fits(self, averages: Averages, trained: bool | None) -> tuple[int, bool]:
        """Smaller the better averages fit the block at hand: they have its metrics without the clocks, and
        the total time before them, if any, was one of training or not."""
        metrics = [name for name, _ in self.line.shape if name not in CLOCKS]
        averaged = [name for name, _ in averages.shape]
        unlike = 0 if metrics == averaged else 1 if set(metrics) <= set(averaged) else UNLIKE
        return unlike, trained is not None and trained != (self.line.epoch is not None)


@dataclass(slots=True)
class Group:
    """One start of the trainer: the streams of its ranks. `mixed`: they wrote into each other's lines;
    `said`: the ranks that said which they are."""

    mixed: bool
    streams: list[Stream] = field(default_factory=list)
    said: set[int] = field(default_factory=set)

    def add(self, stream: Stream) -> None:
        """Takes the stream of one more rank."""
        self.streams.append(stream)
        self.said |= stream.start.ranks if stream.start else set()

    @property
    def first(self) -> int:
        """The first record that belongs to it."""
        return self.streams[0].first

    @property
    def last(self) -> int:
        """The last record that belongs to it."""
        return max(stream.last for stream in self.streams)

    def rows(self) -> list[tuple[int, Progress]]:
        """Each training line once, with its record, in order of training."""
        best: dict[tuple[int, int], tuple[int, Progress]] = {}
        for stream in self.streams:
            for at, seen in stream.rows:
                known = best.get(seen.place)
                if known is None or (seen.whole, -at) > (known[1].whole, -known[0]):
                    best[seen.place] = (at, seen)
        return [best[place] for place in sorted(best)]

    def means(self) -> list[Mean]:
        """Each mean once; one that was printed counts before one taken from a line."""
        best: dict[tuple[int, str, int], Mean] = {}
        for mean in (mean for stream in self.streams for mean in stream.means):
            key = (mean.epoch, mean.phase, mean.ordinal)
            known = best.get(key)
            whole = mean.line.whole if mean.line else not (mean.doubtful and self.mixed)
            if whole and (known is None or _worth(mean) > _worth(known)):
                best[key] = mean
        return [best[key] for key in sorted(best)]

    def has_rank(self, stream: Stream) -> bool:
        """Whether a stream that came after all others is another rank of this start by its introduction: of
        ranks that were not there yet, or none at all, as the introductions of all came first."""
        first = self.streams[0]
        if first.start is None or first.rows[0][1].place != stream.rows[0][1].place:
            return False
        if stream.start is None:
            return sum(at < stream.first for at, _ in first.rows) <= SOON
        return self.is_joined_by(stream.start)

    def is_joined_by(self, start: Start) -> bool:
        """Whether an introduction is of ranks that were not there yet."""
        return bool(self.said) and self.said.isdisjoint(start.ranks)

    def ranks(self) -> int:
        """How often a line usually stands there."""
        copies = Counter(seen.place for stream in self.streams for _, seen in stream.rows)
        return Counter(copies.values()).most_common(1)[0][0]


def _worth(mean: Mean) -> tuple[bool, int]:
    return mean.line is None, -mean.at


class Streams:
    """Deals the lines of a file out."""

    def __init__(self) -> None:
        self._starts: list[Start] = []  # those that no stream began with
        self._all: list[Stream] = []
        self._alive: list[Stream] = []  # the one written to last stands last
        self._start: Start | None = None

    @property
    def starting(self) -> bool:
        """Whether a process introduced itself and has not trained yet."""
        return self._start is not None

    @property
    def begun(self) -> bool:
        """Whether anything was trained yet."""
        return bool(self._all)

    def started(self, at: int, words: int | str, marker: MarkerSeen | None = None) -> None:
        """A process introduced itself, in one line or more; `words` are a rank or what kind of line it is."""
        if self._start is None or self._start.repeated_by(words):
            self._leave_start()
            self._start = Start(at)
        self._start.say(words)
        if marker is not None:
            self._start.markers.setdefault(marker.kind, marker)

    def counted(self, world_size: int) -> None:
        """The arguments of the process that just introduced itself say how many ranks there are."""
        if self._start is not None:
            self._start.world_size = max(self._start.world_size, world_size)

    def failed(self) -> None:
        """An error was printed."""
        if self._start is not None:
            self._start.fail()

    def progress(self, at: int, seen: Progress) -> None:
        """A line of training or evaluation; evaluations before any training are left out."""
        if seen.epoch is None:
            taker = None if self._start else self._taker(seen)
        else:
            taker = self._trained(at, seen)
        if taker is not None:
            taker.add(at, seen)
            self._newest(taker)

    def averages(self, at: int, averages: Averages, trained: bool | None) -> None:
        """The means of a block that was just finished; `trained`: what the total time before them was of."""
        waiting = [stream for stream in reversed(self._alive) if not stream.summed]
        if not averages.values or self._start is not None:
            return
        if averages.evaluated and self._alive and self._alive[-1].line.epoch is not None:
            self._alive[-1].evaluate(at, averages)  # an evaluation that printed no lines
            return
        finished = [stream for stream in waiting if stream.line.last] or waiting[:1]
        fitting = [stream for stream in finished if stream.fits(averages, trained)[0] < UNLIKE]
        taker = min(fitting, key=lambda stream: stream.fits(averages, trained), default=None)
        if taker is not None:
            taker.sum_up(at, averages)
            self._newest(taker)

    def untrained(self, groups: list[Group]) -> list[Start]:
        """The starts that ended before they trained. What stands inside one that trained is of its ranks, as
        is what follows it from ranks that were not there yet."""
        self._leave_start()
        firsts = [group.first for group in groups]
        ends = list(accumulate((group.last for group in groups), max))
        alone: list[Start] = []
        for start in self._starts:
            number = bisect_right(firsts, start.at) - 1
            follows = number >= 0 and (not alone or alone[-1].at < firsts[number])
            inside = number >= 0 and start.at < ends[number]
            if inside or (follows and groups[number].is_joined_by(start)):
                groups[number].said |= start.ranks
            else:
                alone.append(start)
        return alone

    def finished(self, mixed: bool) -> list[Group]:
        """The starts of the trainer that trained something, in order."""
        groups: list[Group] = []
        last = -1
        for stream in self._all:
            stream.close()
            if groups and (stream.first < last or groups[-1].has_rank(stream)) and not stream.resumed:
                groups[-1].add(stream)
            else:
                groups.append(Group(mixed))
                groups[-1].add(stream)
            last = max(last, stream.last)
        return groups

    def _trained(self, at: int, seen: Progress) -> Stream | None:
        """The stream of a training line; None where one took it as a copy."""
        if seen.iteration == 0 and self._start is not None:
            return self._new(at, seen, all(seen.place > stream.place for stream in self._alive))
        taker = self._taker(seen)
        if taker is None:
            if seen.iteration == 0 or self._start is not None or not self._alive:
                return self._new(at, seen, False)
            self._alive[-1].rows.append((at, seen))
        return taker

    def _taker(self, seen: Progress) -> Stream | None:
        fitting = (stream for stream in reversed(self._alive) if stream.continued_by(seen))
        evaluating = seen.epoch is None and seen.iteration == 0
        taker = min(fitting, key=Stream.evaluated, default=None) if evaluating else next(fitting, None)
        if taker is not None:
            return taker
        newest = self._alive[-1] if self._alive else None
        return newest if newest is not None and newest.advanced_by(seen) else None

    def _new(self, at: int, seen: Progress, resumed: bool) -> Stream:
        if resumed:
            self._alive.clear()
        stream = Stream(self._start, resumed, at, at, seen, seen.place, seen.length)
        self._start = None
        self._all.append(stream)
        self._alive = [*self._alive[1 - CANDIDATES :], stream]
        return stream

    def _newest(self, stream: Stream) -> None:
        if self._alive[-1] is not stream:
            self._alive.remove(stream)
            self._alive.append(stream)

    def _leave_start(self) -> None:
        if self._start is not None:
            self._starts.append(self._start)
        self._start = None
