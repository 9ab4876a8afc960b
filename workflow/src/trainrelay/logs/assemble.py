"""Events of all files -> one table: segments, steps over the whole run, overlaps after a resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from trainrelay.logs.events import Event, Facts, MarkerSeen, ProcessStarted, RowSeen, Skipped
from trainrelay.records import Log, Marker, Row


@dataclass(slots=True)
class _Segment:
    """What one start of the trainer left. `at` is the place of the last training row."""

    rows: list[RowSeen] = field(default_factory=list)
    markers: list[Marker] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    at: tuple[int, int] = (0, 0)
    copy_of: _Segment | None = None

    def training(self) -> list[RowSeen]:
        return [row for row in self.rows if row.phase == "train"]


def assemble(name: str, sources: Sequence[str], files: Iterable[Iterable[Event]]) -> Log:
    """One Log from the events of each file, oldest file first."""
    collected = _Collector()
    for events in files:
        collected.start()
        for event in events:
            collected.add(event)
    segments = collected.finished()
    return _log(name, tuple(sources), segments, collected)


class _Collector:
    """Cuts the stream of events into segments and gathers the facts."""

    def __init__(self) -> None:
        self.segments: list[_Segment] = []
        self.setup: dict[str, str] = {}
        self.config: dict[str, Any] = {}
        self.max_epochs: int | None = None
        self.max_iters: int | None = None
        self.skipped = 0
        self._first_of: dict[int, _Segment] = {}

    def start(self) -> None:
        self.segments.append(_Segment())

    def add(self, event: Event) -> None:
        match event:
            case RowSeen():
                self._add_row(event)
            case MarkerSeen():
                self._add_marker(event)
            case Facts():
                self._add_facts(event)
            case ProcessStarted():
                if self.segments[-1].rows or self.segments[-1].said & {"started", "resumed", "error"}:
                    self.start()
            case Skipped():
                self.skipped += 1

    def _add_row(self, row: RowSeen) -> None:
        if row.key is not None and row.key in self._first_of:
            self.segments[-1].copy_of = self._first_of[row.key]
            return
        if row.phase == "train":
            if (row.epoch, row.iteration) <= self.segments[-1].at:
                self.start()
            self.segments[-1].at = (row.epoch, row.iteration)
            self.max_iters = row.max_iters or self.max_iters
        self.segments[-1].rows.append(row)
        if row.key is not None:
            self._first_of[row.key] = self.segments[-1]

    def _add_marker(self, seen: MarkerSeen) -> None:
        current = self.segments[-1]
        begins = seen.kind in ("started", "resumed", "loaded")
        if begins and (current.rows or (seen.kind != "loaded" and seen.kind in current.said)):
            self.start()
            current = self.segments[-1]
        if seen.kind == "error" and "error" in current.said:
            return  # the first error explains; all others follow from it
        current.said.add(seen.kind)
        current.markers.append(_placed(seen, current))

    def _add_facts(self, facts: Facts) -> None:
        self.setup.update(facts.setup)
        self.config = dict(facts.config) or self.config
        self.max_epochs = facts.max_epochs or self.max_epochs
        self.max_iters = facts.max_iters or self.max_iters

    def finished(self) -> list[_Segment]:
        """The segments that hold something; a second copy of a run gives its markers to the first."""
        for segment in self.segments:
            if segment.copy_of is not None and not segment.rows:
                _merge_markers(segment, segment.copy_of)
        return [segment for segment in self.segments if segment.rows or segment.markers]


def _placed(seen: MarkerSeen, segment: _Segment) -> Marker:
    """The marker; errors and mismatches get the place of the row before them."""
    epoch, iteration = seen.epoch, seen.iteration
    if seen.kind in ("error", "mismatch") and segment.at != (0, 0):
        epoch, iteration = segment.at
    return Marker(seen.kind, seen.text, 0, epoch, iteration)


def _merge_markers(copy: _Segment, original: _Segment) -> None:
    known = {(marker.kind, marker.text) for marker in original.markers}
    original.markers += [marker for marker in copy.markers if (marker.kind, marker.text) not in known]
    copy.markers = []


def _log(name: str, sources: tuple[str, ...], segments: list[_Segment], found: _Collector) -> Log:
    by_iteration = _by_iteration(segments, found)
    length = _epoch_length(segments, found, by_iteration)
    interval = _interval(segments)
    clock = _Clock(by_iteration, length or _longest(segments))
    rows, redone = _timeline(segments, clock, interval or 0)
    return Log(
        format=name,
        sources=sources,
        rows=tuple(rows),
        markers=tuple(_numbered(segments)),
        iters_per_epoch=length,
        max_epochs=1 if by_iteration else _max_epochs(found),
        interval=interval,
        segments=max(1, len(segments)),
        redone_iterations=redone,
        skipped_lines=found.skipped,
        setup=_setup(found),
        config=found.config,
    )


def _by_iteration(segments: list[_Segment], found: _Collector) -> bool:
    """Whether iterations count over the whole run: JSON rows do not say it, their numbers do."""
    rows = [row for segment in segments for row in segment.training()]
    if any(row.by_iteration for row in rows) or found.config.get("runner.type") == "IterBasedRunner":
        return True
    changes = [
        later.iteration > earlier.iteration
        for segment in segments
        for earlier, later in pairwise(segment.training())
        if later.epoch > earlier.epoch
    ]
    return bool(changes) and all(changes)


def _epoch_length(segments: list[_Segment], found: _Collector, by_iteration: bool) -> int | None:
    """Iterations of an epoch as printed; else the last one logged in an epoch that was left behind,
    which is short by less than the logging interval."""
    if by_iteration:
        config_iters = found.config.get("runner.max_iters")
        return found.max_iters or (config_iters if isinstance(config_iters, int) else None)
    printed = [row.iters_per_epoch for segment in segments for row in segment.rows if row.iters_per_epoch]
    if printed:
        return printed[-1]
    left = [
        earlier.iteration
        for segment in segments
        for earlier, later in pairwise(segment.training())
        if later.epoch > earlier.epoch
    ]
    return max(left, default=None)


def _longest(segments: list[_Segment]) -> int:
    return max((row.iteration for segment in segments for row in segment.training()), default=0)


def _interval(segments: list[_Segment]) -> int | None:
    """The usual distance of two logged iterations."""
    distances = Counter(
        later.iteration - earlier.iteration
        for segment in segments
        for earlier, later in pairwise(segment.training())
        if later.epoch == earlier.epoch
    )
    return distances.most_common(1)[0][0] if distances else None


def _max_epochs(found: _Collector) -> int | None:
    for value in (found.max_epochs, found.config.get("runner.max_epochs"), found.config.get("total_epochs")):
        if isinstance(value, int):
            return value
    return None


@dataclass(frozen=True, slots=True)
class _Clock:
    """Iterations over the whole run."""

    by_iteration: bool
    length: int

    def step(self, row: RowSeen) -> int:
        if self.by_iteration:
            return row.iteration
        return (row.epoch - 1) * (row.iters_per_epoch or self.length) + row.iteration

    def validation_step(self, row: RowSeen, last: int) -> int:
        """The end of its epoch; the last training step where epochs are not counted."""
        return last if self.by_iteration else max(last, row.epoch * self.length)


def _timeline(segments: list[_Segment], clock: _Clock, interval: int) -> tuple[list[Row], int]:
    """The rows that the final weights come from, and how many iterations were done more than once."""
    timelines: list[list[Row]] = [[]]
    redone = reached = 0
    for number, segment in enumerate(segments):
        rows = list(_stepped(segment, number, clock, _last_step(timelines[-1])))
        training = [row for row in rows if row.phase == "train"]
        if training:
            start = _start(segment, training[0].step, interval)
            redone += max(0, min(reached, training[-1].step) - start)
            reached = max(reached, training[-1].step)
            timelines.append(_before(timelines, start, interval) + rows)
        else:
            timelines[-1] += rows
    return timelines[-1], redone


def _before(timelines: list[list[Row]], start: int, interval: int) -> list[Row]:
    """The rows up to `start` of the latest timeline that came so far: a start from zero that ended
    early is no ancestor of a later resume from further on."""
    far = [rows for rows in timelines if _last_step(rows) + interval > start]
    return [row for row in (far or timelines)[-1] if row.step <= start]


def _last_step(rows: list[Row]) -> int:
    return max((row.step for row in rows[-10:]), default=0)


def _stepped(segment: _Segment, number: int, clock: _Clock, last: int) -> Iterator[Row]:
    for row in segment.rows:
        if row.phase == "train":
            last = clock.step(row)
        step = last if row.phase == "train" else clock.validation_step(row, last)
        epoch = 1 if clock.by_iteration else row.epoch
        yield Row(step, epoch, row.iteration, row.phase, number, row.values)


def _start(segment: _Segment, first_step: int, interval: int) -> int:
    """The step after which this segment trained: as the trainer says, else from its first row."""
    said = [m.iteration for m in segment.markers if m.kind == "resumed" and m.iteration is not None]
    return min(said[-1], first_step - 1) if said else max(0, first_step - max(1, interval))


def _numbered(segments: list[_Segment]) -> Iterator[Marker]:
    for number, segment in enumerate(segments):
        for marker in segment.markers:
            yield Marker(marker.kind, marker.text, number, marker.epoch, marker.iteration)


def _setup(found: _Collector) -> dict[str, str]:
    backend = found.config.get("dist_params.backend")
    return {**({"backend": backend} if isinstance(backend, str) else {}), **found.setup}
