"""Progress lines of one file -> starts of the trainer, each line once.

A file may hold several starts one after the other, and each line of a start once per rank, where every rank
prints. Ranks train in step: a line at the place of the one before it is a copy, and one that goes back begins
another start. Two things show ranks that are not in step, as they print through buffers:

- a line goes back into the middle of an epoch, where no start begins;
- lines go back after a rank introduced itself of which their start had not heard.

In such a file only introductions begin starts, and evaluations and averages, which name no epoch, are left
out. Otherwise they belong to the training line before them. Of copies the first whole one counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainrelay.logs.events import MarkerSeen
from trainrelay.logs.metriclogger_lines import CLOCKS, Averages, Progress

Block = tuple[int, Literal["epoch", "val"], int]  # epoch, and the number of the evaluation after it


@dataclass(slots=True)
class Start:
    """A process introduced itself, at this record of the file; at most one marker of a kind.

    Another one that does so after an error is another rank of the same start, unless its words prove a later
    one: a rank says again which it is; or, where no rank says so, more of them begin than there are.

    `ranks`: those that said which they are; `said`: how often each of its words came, of a rank its number,
    since the newest error; `failed`: the same before it.
    """

    at: int
    world_size: int = 1
    ranks: set[int] = field(default_factory=set)
    markers: dict[str, MarkerSeen] = field(default_factory=dict)
    said: Counter[int | str] = field(default_factory=Counter)
    failed: Counter[int | str] = field(default_factory=Counter)

    def repeated_by(self, words: int | str) -> bool:
        """Whether words can only be of a later start, this one having failed before."""
        if self.ranks:
            return isinstance(words, int) and words in self.failed
        return self.failed[words] >= self.world_size


@dataclass(frozen=True, slots=True)
class Mean:
    """Means as printed, or as the last `line` of their block shows them. `doubtful`: with other metrics than
    that line."""

    at: int
    values: Mapping[str, float]
    line: Progress | None = None
    doubtful: bool = False


@dataclass(slots=True)
class Trained:
    """A start that trained. `start`: how it introduced itself; where it did not, it may be more ranks of the
    one before. `ranks`: those that said which they are; `buffered`: they were not in step."""

    at: int
    start: Start | None
    ranks: set[int]
    buffered: bool = False
    lines: defaultdict[tuple[int, int], list[tuple[int, Progress]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    means: defaultdict[Block, list[Mean]] = field(default_factory=lambda: defaultdict(list))

    def is_joined_by(self, start: Start) -> bool:
        """Whether an introduction is of ranks that were not there yet."""
        return bool(self.ranks) and self.ranks.isdisjoint(start.ranks)

    def take(self, other: Trained) -> None:
        """Takes the lines of more ranks."""
        for place, lines in other.lines.items():
            self.lines[place] += lines
        for block, means in other.means.items():
            self.means[block] += means

    def printing(self) -> int:
        """How many ranks print: how often a line usually stands there."""
        return Counter(map(len, self.lines.values())).most_common(1)[0][0]

    def rows(self) -> list[tuple[int, Progress]]:
        """Each training line once, with its record, in order of training."""
        return [max(self.lines[place], key=lambda copy: copy[1].whole) for place in sorted(self.lines)]

    def averaged(self) -> Iterator[tuple[Block, Mean]]:
        """Each mean once; one that was printed counts before that of a line."""
        alone = self.printing() == 1
        for block in sorted(self.means):
            known = [mean for mean in self.means[block] if self._is_known(mean, alone)]
            if known and (alone or block[2] == 0):  # a second evaluation may be another rank's
                yield block, min(known, key=lambda mean: mean.line is not None)

    def _is_known(self, mean: Mean, alone: bool) -> bool:
        """Whether it is whole, and of no other block or epoch."""
        if mean.line is not None:
            return mean.line.whole and (mean.line.epoch is not None or not self.buffered)
        return not self.buffered and (alone or not mean.doubtful)


class Starts:
    """Follows the records of a file; `at` is the place of one."""

    def __init__(self) -> None:
        self._untrained: list[Start] = []
        self._trained: list[Trained] = []
        self._start: Start | None = None  # introduced itself, and has not trained yet
        self._place = (0, 0)  # of the newest training line
        self._failed = False  # an error came after it
        self._joined = False  # a rank introduced itself after others had trained
        self._buffered = False
        # The block at hand, of training or evaluation: its newest line; whether its means are known.
        self._line: Progress | None = None
        self._summed = False
        self._evaluation = -1  # the number of the newest one after this epoch

    @property
    def open(self) -> bool:
        """Whether what is loaded now is loaded to be trained."""
        return self._start is not None or not self._trained

    def started(self, at: int, words: int | str, marker: MarkerSeen | None = None) -> None:
        """A process introduced itself, in one line or more; `words` are a rank or what kind of line it is."""
        if self._start is None or self._start.repeated_by(words):
            self._leave()
            self._start = Start(at)
        self._start.said[words] += 1
        if isinstance(words, int):
            self._start.ranks.add(words)
        if marker is not None:
            self._start.markers.setdefault(marker.kind, marker)

    def counted(self, world_size: int) -> None:
        """The arguments of the process that just introduced itself say how many ranks there are."""
        if self._start is not None:
            self._start.world_size = max(self._start.world_size, world_size)

    def failed(self) -> None:
        """An error was printed."""
        self._failed = True
        if self._start is not None:
            self._start.failed.update(self._start.said)
            self._start.said.clear()

    def progress(self, at: int, seen: Progress) -> None:
        """A line of training or evaluation; evaluations before any training are left out."""
        if not seen.whole:
            if seen.epoch is not None and self._trained:
                self._trained[-1].lines[seen.place].append((at, seen))
            return
        if seen.epoch is not None:
            self._train(at, seen)
        elif self._start is not None or self._line is None:
            return
        elif self._line.epoch is not None or self._summed or seen.iteration < self._line.iteration:
            if seen.iteration:
                return  # the rest of another rank's
            self._evaluation += 1
            self._summed = False
        self._line = seen
        if seen.last and seen.means:
            self._add(Mean(at, seen.means, seen))

    def averages(self, at: int, averages: Averages) -> None:
        """The means of a block that was just finished."""
        if not averages.values or self._start is not None or self._line is None:
            return
        line, names = self._line, [name for name, _ in averages.shape]
        metrics = [name for name, _ in line.shape if name not in CLOCKS]
        if averages.evaluated and line.epoch is not None:  # an evaluation that printed no lines
            self._evaluation += 1
            self._trained[-1].means[self._place[0], "val", self._evaluation].append(Mean(at, averages.values))
        elif not self._summed and set(metrics) <= set(names):
            self._add(Mean(at, averages.values, doubtful=metrics != names))
            self._summed = True

    def finished(self) -> tuple[list[Trained], list[Start]]:
        """The starts that trained something, in order, and those that ended before they did."""
        self._leave()
        groups: list[Trained] = []
        for trained in self._trained:
            trained.buffered = self._buffered
            if groups and self._buffered and trained.start is None:
                groups[-1].take(trained)
            else:
                groups.append(trained)
        return groups, self._untrained

    def _train(self, at: int, seen: Progress) -> None:
        now = self._trained[-1] if self._trained else None
        if now and self._start and now.is_joined_by(self._start):
            self._leave()
            self._joined = True
        before, back = self._place, seen.place < self._place or (self._failed and seen.place == self._place)
        if now is None or self._start is not None or (back and seen.iteration == 0):
            ranks = self._start.ranks if self._start else now.ranks if now else set()
            self._trained.append(Trained(at, self._start, ranks))
        self._joined &= self._start is None
        self._buffered |= self._start is None and seen.place < before and (seen.iteration > 0 or self._joined)
        if back or seen.epoch != before[0]:
            self._evaluation = -1
        self._trained[-1].lines[seen.place].append((at, seen))
        self._place, self._start, self._failed, self._summed = seen.place, None, False, False

    def _add(self, mean: Mean) -> None:
        training = self._line is None or self._line.epoch is not None
        block: Block = (self._place[0], "epoch", 0) if training else (self._place[0], "val", self._evaluation)
        self._trained[-1].means[block].append(mean)

    def _leave(self) -> None:
        if self._start is not None:
            if self._trained and self._trained[-1].is_joined_by(self._start):
                self._trained[-1].ranks |= self._start.ranks
            else:
                self._untrained.append(self._start)
        self._start = None
