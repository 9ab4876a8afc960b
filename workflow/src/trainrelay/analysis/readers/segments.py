"""The stream of events of all files -> segments, what one start of the trainer left, and facts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from trainrelay.analysis.readers.events import (
    EpochsCounted,
    Event,
    LineSkipped,
    ProcessStarted,
    RowSeen,
    SetupSeen,
    TrainingEnded,
)
from trainrelay.progress_lines.causes import explains
from trainrelay.records import Marker, Numbers

SURVIVED = 3  # rows after an error: other ranks may print one or two until they notice
SEGMENT_LIMIT = 20_000  # more restarts cost time only, and are named in the set-up


@dataclass(slots=True)
class Segment:
    """What one start of the trainer left. `at` is the place of the last training row, `epoch` the last one
    with a mean; `guessed`: from which number its epochs were taken to count. `early`: how many markers came
    before a process introduced itself, an error among them; `failed`: an error came after that."""

    rows: list[RowSeen] = field(default_factory=list)
    markers: list[Marker] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    at: tuple[int, int] = (0, 0)
    epoch: int = 0
    guessed: int | None = None
    introduced: bool = False
    failed: bool = False
    early: int = 0
    time: str = ""
    saved: int = 0  # the iteration of the newest checkpoint
    trained: int = 0  # rows of training
    before_error: int = 0  # of these
    copy_of: Segment | None = None
    within: tuple[int, int] | None = None  # the epochs and iterations that were done before

    def began(self) -> bool:
        """Whether a process that introduces itself now can only be of a later start."""
        return bool(self.rows or self.failed or self.said & {"started", "resumed"})

    def training(self) -> list[RowSeen]:
        return [row for row in self.rows if row.phase == "train"]


class Collector:
    """Cuts the stream of events into segments and gathers the facts."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.setup: dict[str, str] = {}
        self.config: dict[str, Any] = {}
        self.max_epochs: int | None = None
        self.max_iters: int | None = None
        self.skipped = 0
        self._first_of: dict[int, Segment] = {}
        self._counted: set[int | None] = set()
        self._guessed: int | None = None
        self._within: tuple[int, int] | None = None

    def open(self, within: tuple[int, int] | None = None) -> None:
        """A file begins; its first start to train did so `within` an epoch."""
        self._guessed, self._within = None, within
        self.segments.append(Segment())

    def _start(self) -> None:
        if len(self.segments) < SEGMENT_LIMIT:
            self.segments.append(Segment(guessed=self._guessed))
        else:
            self.setup["starts"] = f"only the first {SEGMENT_LIMIT} were told apart"

    def add(self, event: Event) -> None:
        """Takes the next event."""
        match event:
            case RowSeen():
                self._add_row(event)
            case Marker():
                self._add_marker(event)
            case SetupSeen():
                self._add_facts(event)
            case ProcessStarted():
                self._introduce()
            case EpochsCounted(first=first, taken=taken):
                self._counted.add(first)
                self._guessed = self.segments[-1].guessed = taken if first is None else None
            case TrainingEnded(time=time):
                self.segments[-1].time = time
            case LineSkipped():
                self.skipped += 1

    def _introduce(self) -> None:
        current = self.segments[-1]
        if current.began():
            self._start()
        elif "error" in current.said and not current.introduced:
            current.early = len(current.markers)
        self.segments[-1].introduced = True

    def _train_first(self, current: Segment) -> None:
        """What failed before this start introduced itself was an earlier one, as this one trains; and an
        error that it survived does not explain a later one."""
        current.said.discard("error")
        if current.early:
            died = Segment(markers=current.markers[: current.early])
            current.markers = current.markers[current.early :]
            self.segments.insert(-1, died)

    def _add_row(self, row: RowSeen) -> None:
        if row.key is not None and row.key in self._first_of:
            self.segments[-1].copy_of = self._first_of[row.key]
            return
        if row.phase == "train":
            if not self.segments[-1].at[0]:
                self.segments[-1].within, self._within = self._within, None
            if (row.epoch, row.iteration) <= self.segments[-1].at:
                self._start()
            self.segments[-1].at = (row.epoch, row.iteration)
            self.max_iters = row.max_iters or self.max_iters
        elif row.phase == "epoch":
            if row.epoch <= self.segments[-1].epoch and self.segments[-1].at == (0, 0):
                self._start()
            self.segments[-1].epoch = row.epoch
        elif row.by_iteration and not row.max_iters and (saved := self.segments[-1].saved):
            # It counts batches of the validation, and the training's newest line may be older.
            row = replace(row, iteration=max(saved, self.segments[-1].at[1]), max_iters=saved)
        if not self.segments[-1].rows:
            self._train_first(self.segments[-1])
        if not isinstance(row.values, Numbers):
            row = replace(row, values=Numbers(tuple(row.values), row.values.values()))
        self.segments[-1].rows.append(row)
        self.segments[-1].trained += row.phase != "val"
        if row.key is not None:
            self._first_of[row.key] = self.segments[-1]

    def _add_marker(self, seen: Marker) -> None:
        current = self.segments[-1]
        begins = seen.kind in ("started", "resumed", "loaded")
        if begins and (current.rows or (seen.kind != "loaded" and seen.kind in current.said)):
            self._start()
            current = self.segments[-1]
        current.failed |= seen.kind == "error" and current.introduced
        if seen.kind == "error" and "error" in current.said:
            # The first error explains, all others follow from it; but it may only say that a rank failed.
            at = max(at for at, known in enumerate(current.markers) if known.kind == "error")
            survived = current.trained - current.before_error >= SURVIVED
            if survived or (current.rows and explains(seen.text) > explains(current.markers[at].text)):
                current.markers[at], current.before_error = _placed(seen, current), current.trained
            return
        if seen.kind == "error":
            current.before_error = current.trained
        if seen.kind == "saved":
            current.saved = seen.iteration or 0
        current.said.add(seen.kind)
        current.markers.append(_placed(seen, current))

    def _add_facts(self, facts: SetupSeen) -> None:
        self.setup.update(facts.setup)
        self.config = dict(facts.config) or self.config
        self.max_epochs = facts.max_epochs or self.max_epochs
        self.max_iters = facts.max_iters or self.max_iters

    def _counts_apart(self, segment: Segment) -> bool:
        """A job's output has the means of epochs from 1, its errors bars from 0, or the other way round."""
        alike = (one for one in self.segments if bool(one.at[0]) == bool(segment.at[0]))
        begins = segment.guessed == 1 and min((row.epoch for row in segment.rows), default=0) == 1
        return begins and not any(one.rows and one.guessed is None for one in alike)

    def finished(self) -> list[Segment]:
        """The segments that hold something; a second copy of a run gives its markers to the first."""
        for segment in self.segments:
            if segment.copy_of is not None and not segment.rows:
                _merge_markers(segment, segment.copy_of)
        proved = {0, 1} & self._counted
        if proved == {1}:
            self.setup["epochs count from"] = "1"
        for segment in self.segments:
            if proved and segment.guessed not in (None, min(proved)) and not self._counts_apart(segment):
                _count_otherwise(segment)
        kept = [segment for segment in self.segments if segment.rows or segment.markers or segment.time]
        if time := total_time([segment.time for segment in kept]):
            self.setup["training time"] = time
        return [segment for segment in kept if segment.rows or segment.markers]


def _placed(seen: Marker, segment: Segment) -> Marker:
    """Errors and mismatches get the place of the row before them."""
    epoch, iteration = segment.at if segment.at[0] else (segment.epoch, 0)
    if seen.kind not in ("error", "mismatch") or not epoch:
        return seen
    return replace(seen, epoch=epoch, iteration=iteration)


def _merge_markers(copy: Segment, original: Segment) -> None:
    known = {(marker.kind, marker.text) for marker in original.markers}
    original.markers += [marker for marker in copy.markers if (marker.kind, marker.text) not in known]
    copy.markers = []


def _count_otherwise(segment: Segment) -> None:
    """Another file of the same trainer proves from what its epochs count, which this one does not."""
    more, segment.guessed = (1 if segment.guessed else -1), None
    length = next((row.iters_per_epoch for row in segment.rows if row.iters_per_epoch), 0)
    segment.rows = [replace(row, epoch=row.epoch + more) for row in segment.rows]
    moved = [replace(marker, epoch=marker.epoch and marker.epoch + more) for marker in segment.markers]
    # What continued with the first epoch was no resume.
    segment.markers = [
        replace(marker, iteration=marker.iteration and marker.iteration + more * length)
        if marker.kind == "resumed"
        else marker
        for marker in moved
        if marker.kind != "resumed" or marker.epoch
    ]


_TIME = re.compile(r"(?:(\d{1,6}) days?, )?(\d{1,6}):(\d\d):(\d\d)(?:\.\d{1,9})?")


def total_time(times: Sequence[str]) -> str | None:
    """The sum; None unless each one is known. A single one stays as it was printed."""
    if len(times) == 1:
        return times[0] or None
    found = [match for time in times if (match := _TIME.fullmatch(time))]
    if not found or len(found) < len(times):
        return None
    return str(sum(map(_timedelta, found), timedelta()))


def _timedelta(match: re.Match[str]) -> timedelta:
    days, hours, minutes, seconds = (int(text or 0) for text in match.groups())
    return timedelta(days, seconds, minutes=minutes, hours=hours)
