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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainrelay.analysis.readers.metriclogger_lines import CLOCKS, Averages, ProgressLine
from trainrelay.records import Marker

RARE = 20  # a kind of line of which the usual one has more than this many times as many lines
Block = tuple[int, Literal["epoch", "val"], int]  # epoch, and the number of the evaluation after it


@dataclass(slots=True)
class Introduction:
    """A process introduced itself, at this record of the file; at most one marker of a kind.

    Another one that does so after an error is another rank of the same start, unless its words prove a later
    one: a rank says again which it is; or, where no rank says so, more of them begin than there are.

    `ranks`: those that said which they are; `said`: how often each of its words came, of a rank its number;
    `failed`: the same before the newest error.
    """

    at: int
    world_size: int = 1
    ranks: set[int] = field(default_factory=set)
    markers: dict[str, Marker] = field(default_factory=dict)
    said: Counter[int | str] = field(default_factory=Counter)
    failed: Counter[int | str] = field(default_factory=Counter)

    def repeated_by(self, words: int | str) -> bool:
        """Whether words can only be of a later start, this one having failed before."""
        if self.ranks:
            return isinstance(words, int) and words in self.failed
        return self.failed[words] >= self.world_size


@dataclass(frozen=True, slots=True)
class Mean:
    """Means that were printed, or that the last line of an evaluation shows. `doubtful`: with other metrics
    than the lines before them."""

    at: int
    values: Mapping[str, float]
    printed: bool = True
    doubtful: bool = False


@dataclass(slots=True)
class TrainedStart:
    """A start that trained. `start`: how it introduced itself; where it did not, it may be more ranks of the
    one before. `ranks`: those that said which they are."""

    at: int
    start: Introduction | None
    ranks: set[int]
    lines: defaultdict[tuple[int, int], list[tuple[int, ProgressLine]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    means: defaultdict[Block, list[Mean]] = field(default_factory=lambda: defaultdict(list))

    def is_joined_by(self, start: Introduction) -> bool:
        """Whether an introduction is of ranks that were not there yet."""
        return bool(self.ranks) and self.ranks.isdisjoint(start.ranks)

    def take(self, other: TrainedStart) -> None:
        """Takes the lines of more ranks."""
        for place, lines in other.lines.items():
            self.lines[place] += lines

    def printing(self) -> int:
        """How many ranks print: how often a line is usually there."""
        return Counter(map(len, self.lines.values())).most_common(1)[0][0]

    def mistrust(self) -> None:
        """The ranks were not in step: what names no epoch may be of any, and lines that look like hardly any
        other may be the head of one and the tail of another."""
        self.means.clear()
        copies = [seen for lines in self.lines.values() for _, seen in lines]
        counts = Counter(seen.shape for seen in copies)
        rare = max(1, max(counts.values()) // RARE)
        for seen in copies:
            seen.whole &= counts[seen.shape] > rare

    def rows(self) -> list[tuple[int, ProgressLine]]:
        """Each training line once, with its record, in order of training: the first whole copy."""
        return [max(self.lines[place], key=lambda copy: copy[1].whole) for place in sorted(self.lines)]

    def averaged(self) -> dict[Block, Mean]:
        """Each mean once: what was printed, else what the last line of the block shows."""
        alone = self.printing() == 1
        found: dict[Block, Mean] = {
            (seen.place[0], "epoch", 0): Mean(at, seen.means)
            for at, seen in self.rows()
            if seen.whole and seen.means
        }
        for block, means in self.means.items():
            known = [mean for mean in means if alone or not mean.doubtful]
            if known and (alone or block[2] == 0):  # a second evaluation may be another rank's
                found[block] = max(known, key=lambda mean: mean.printed)
        return found


class StartFinder:
    """Follows the records of a file; `at` is the place of one."""

    def __init__(self) -> None:
        self._untrained: list[Introduction] = []
        self._trained: list[TrainedStart] = []
        self._start: Introduction | None = None  # introduced itself, and has not trained yet
        self._place = (0, 0)  # of the newest training line
        self._failed = False  # an error came after it
        self._joined = False  # a rank introduced itself after others had trained
        self._buffered = False
        self._line: ProgressLine | None = None  # the newest one of the block at hand
        self._block: Block = (0, "epoch", 0)
        self._summed = False  # its means were printed
        self._evaluations = 0  # after this epoch

    @property
    def open(self) -> bool:
        """Whether what is loaded now is loaded to be trained."""
        return self._start is not None or not self._trained

    def started(self, at: int, words: int | str, marker: Marker | None = None) -> None:
        """A process introduced itself, in one line or more; `words` are a rank or what kind of line it is."""
        if self._start is None or self._start.repeated_by(words):
            self._leave()
            self._start = Introduction(at)
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
            self._start.failed = self._start.said.copy()

    def progress(self, at: int, seen: ProgressLine) -> None:
        """A line of training or evaluation; evaluations before any training are left out."""
        if seen.epoch is not None and seen.whole:
            self._train(at, seen)
        elif seen.epoch is not None:
            if self._trained:
                self._trained[-1].lines[seen.place].append((at, seen))
            return
        elif self._start is not None or self._line is None:
            return
        elif self._block[1] == "epoch" or self._summed or seen.iteration < self._line.iteration:
            if seen.iteration:  # the rest of another rank's, as may be the means that follow
                self._summed = True
                return
            self._evaluate()
        self._line = seen
        if seen.epoch is None and seen.means:
            self._trained[-1].means[self._block].append(Mean(at, seen.means, printed=False))

    def averages(self, at: int, averages: Averages) -> None:
        """The means of a block that was just finished."""
        if not averages.values or self._start is not None or self._line is None:
            return
        names = tuple(name for name, _ in self._line.shape if name not in CLOCKS)
        if averages.evaluated and (self._block[1] == "epoch" or self._summed):
            self._evaluate()  # one that printed no lines
        elif self._summed or not (averages.evaluated or set(names) <= set(averages.names)):
            return
        doubtful = not averages.evaluated and names != averages.names
        self._trained[-1].means[self._block].append(Mean(at, averages.values, doubtful=doubtful))
        self._summed = True

    def finished(self) -> tuple[list[TrainedStart], list[Introduction]]:
        """The starts that trained something, in order, and those that ended before they did."""
        self._leave()
        if not self._buffered:
            return self._trained, self._untrained
        groups: list[TrainedStart] = []
        for trained in self._trained:
            if groups and trained.start is None:
                groups[-1].take(trained)
            else:
                groups.append(trained)
        for trained in groups:
            trained.mistrust()
        return groups, self._untrained

    def _train(self, at: int, seen: ProgressLine) -> None:
        now = self._trained[-1] if self._trained else None
        if now and self._start and now.is_joined_by(self._start):
            self._leave()
            self._joined = True
        before, back = self._place, seen.place < self._place or (self._failed and seen.place == self._place)
        if now is None or self._start is not None or (back and seen.iteration == 0):
            said = self._start or now
            self._trained.append(TrainedStart(at, self._start, said.ranks if said else set()))
        self._joined &= self._start is None
        self._buffered |= self._start is None and seen.place < before and (seen.iteration > 0 or self._joined)
        if back or seen.epoch != before[0]:
            self._evaluations = 0
        self._trained[-1].lines[seen.place].append((at, seen))
        self._place, self._start, self._failed = seen.place, None, False
        self._block, self._summed = (seen.place[0], "epoch", 0), False

    def _evaluate(self) -> None:
        self._block, self._summed = (self._place[0], "val", self._evaluations), False
        self._evaluations += 1

    def _leave(self) -> None:
        if self._start is not None:
            if self._trained and self._trained[-1].is_joined_by(self._start):
                self._trained[-1].ranks |= self._start.ranks
            else:
                self._untrained.append(self._start)
        self._start = None
