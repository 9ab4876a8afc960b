"""Starts, means and summaries of a MetricLogger text -> events in the order of training."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trainrelay.logs.events import EpochsCounted, Event, Facts, MarkerSeen, ProcessStarted, RowSeen, Skipped
from trainrelay.logs.metriclogger_lines import Progress
from trainrelay.logs.starts import Start
from trainrelay.logs.streams import Group
from trainrelay.logs.summaries import Said
from trainrelay.records import Phase

_ORDER: dict[Phase, int] = {"train": 0, "epoch": 1, "val": 2}
_Key = tuple[int, int, int]  # epoch, order of the phase, iteration or number of the evaluation


@dataclass(slots=True)
class _Part:
    """What belongs to one start. `first` is its first record; a row of None was lost.

    `evaluations`: the number of the last one of each epoch; `summed`: what summaries say, by epoch and phase.
    """

    first: int
    length: int | None = None
    rows: dict[_Key, tuple[int, RowSeen | None]] = field(default_factory=dict)
    evaluations: dict[int, int] = field(default_factory=dict)
    summed: dict[tuple[int, Phase], tuple[int, dict[str, float]]] = field(default_factory=dict)

    def mean(self, at: int, epoch: int, phase: Phase, ordinal: int, values: Mapping[str, float]) -> None:
        """Places the means of an epoch or of an evaluation."""
        last = self.length - 1 if self.length else 0
        row = RowSeen(epoch, last, phase, values, None, iters_per_epoch=self.length, from_zero=True)
        self.rows[epoch, _ORDER[phase], ordinal] = (at, row)
        if phase == "val":
            self.evaluations[epoch] = max(ordinal, self.evaluations.get(epoch, 0))

    def say(self, at: int, epoch: int, said: Said) -> None:
        """Takes a number of a summary; of two of one name the first counts."""
        phase: Phase = "epoch" if said.phase == "train" else "val"
        self.summed.setdefault((epoch, phase), (at, {}))[1].setdefault(said.name, said.value)

    def events(self) -> Iterator[tuple[int, Event]]:
        """In order of training, at places of the file that do not go back."""
        self._sum_up()
        at = self.first
        for key in sorted(self.rows):
            seen_at, row = self.rows[key]
            at = max(at, seen_at)
            yield at, Skipped() if row is None else row

    def _sum_up(self) -> None:
        """Adds what the summaries say; no number is replaced."""
        for (epoch, phase), (at, values) in self.summed.items():
            ordinal = self.evaluations.get(epoch, 0) if phase == "val" else 0
            _, row = self.rows.get((epoch, _ORDER[phase], ordinal), (at, None))
            if row is None:
                self.mean(at, epoch, phase, ordinal, values)
            else:
                merged = {**row.values, **{name: v for name, v in values.items() if name not in row.values}}
                place = (epoch, _ORDER[phase], ordinal)
                self.rows[place] = (self.rows[place][0], replace(row, values=merged))


class Table:
    """Puts a file's events in order. `counted`: from which number headers count epochs, None if unproven."""

    def __init__(self, counted: int | None, said: Iterable[tuple[int, Event]]) -> None:
        self._counted = counted
        self._shift = 1 - (counted or 0)
        self._events = list(said)

    def add(
        self, groups: Sequence[Group], starts: Iterable[Start], summed: Sequence[tuple[int, Said]]
    ) -> None:
        """The starts that trained, those that did not, and the summaries."""
        for start in starts:
            self._introduce(start)
        parts = [self._part(number, group) for number, group in enumerate(groups)]
        for part in [*parts, *_summarized(parts, summed)]:
            self._events += part.events()
        if groups:
            self._events.append((-1, EpochsCounted(self._counted)))
        if (ranks := max((group.ranks() for group in groups), default=1)) > 1:
            self._events.append((-1, Facts(setup={"ranks printing": str(ranks)})))

    def events(self) -> list[Event]:
        """Everything, in the order of the file."""
        return [event for _, event in sorted(self._events, key=lambda placed: placed[0])]

    def _introduce(self, start: Start) -> None:
        self._events.append((start.at, ProcessStarted()))
        self._events += [(start.at, marker) for marker in start.markers.values()]

    def _part(self, number: int, group: Group) -> _Part:
        first, lines = group.streams[0], group.rows()
        if first.start is not None:
            self._introduce(first.start)
        elif number:
            self._events.append((first.first, ProcessStarted()))
        if first.start is not None or number:
            self._resume(first.first, lines[0][1])
        part = _Part(first.first, lines[-1][1].length)
        for at, seen in lines:
            row = _training(seen, (seen.epoch or 0) + self._shift)
            if seen.whole and not seen.values:  # a bar that shows no numbers
                continue
            part.rows[row.epoch, _ORDER["train"], row.iteration] = (at, row if seen.whole else None)
        for mean in group.means():
            part.mean(mean.at, mean.epoch + self._shift, mean.phase, mean.ordinal, mean.values)
        return part

    def _resume(self, at: int, seen: Progress) -> None:
        """A start whose first line is of a later epoch resumed, whether it says so or not."""
        finished = (seen.epoch or 0) + self._shift - 1
        if finished > 0:
            text = f"training goes on with Epoch: [{seen.epoch}]"
            self._events.append((at, MarkerSeen("resumed", text, finished, finished * seen.length)))


def _training(seen: Progress, epoch: int) -> RowSeen:
    return RowSeen(
        epoch, seen.iteration, "train", seen.values, None, iters_per_epoch=seen.length, from_zero=True
    )


def _summarized(parts: list[_Part], summed: Sequence[tuple[int, Said]]) -> list[_Part]:
    """Gives each summary to the start in which it was printed; the parts of those that have none."""
    shift = 1 if any(said.number == 0 for _, said in summed) else 0
    firsts = [part.first for part in parts]
    alone: list[_Part] = []
    last = 0
    for at, said in summed:
        if before := bisect_right(firsts, at):
            parts[before - 1].say(at, said.number + shift, said)
            continue
        if not alone or said.number < last:
            alone.append(_Part(at))
        last = said.number
        alone[-1].say(at, said.number + shift, said)
    return alone
