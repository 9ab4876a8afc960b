"""Starts, means and summaries of a MetricLogger text -> events in the order of training."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from trainrelay.analysis.readers.events import (
    EpochsCounted,
    Event,
    LineSkipped,
    ProcessStarted,
    RowSeen,
    SetupSeen,
)
from trainrelay.analysis.readers.starts import Introduction, TrainedStart
from trainrelay.analysis.readers.summaries import SummaryNumber
from trainrelay.records import Marker, Phase

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
