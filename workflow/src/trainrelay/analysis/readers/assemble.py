"""Events of all files -> one table: steps over the whole run, overlaps after a resume; a start from zero
supersedes everything before it: rows, what was saved or loaded, an epoch's length, the interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise, zip_longest

from trainrelay.analysis.readers.events import Event, RowSeen
from trainrelay.analysis.readers.segments import Collector, Segment
from trainrelay.records import Log, Marker, Row


def assemble(
    name: str,
    sources: Sequence[str],
    files: Iterable[Iterable[Event]],
    begun: Iterable[tuple[int, int] | None] = (),
) -> Log:
    """One Log from the events of each file, oldest file first; `begun` as in `read`."""
    collected = Collector()
    for events, within in zip_longest(files, begun):
        collected.open(within)
        for event in events:
            collected.add(event)
    return table(name, tuple(sources), collected)


def table(name: str, sources: tuple[str, ...], found: Collector) -> Log:
    """What was collected so far; more may be added to it after that."""
    segments = found.finished()
    epochs_only = _epochs_only(segments)
    if epochs_only:
        segments = [_as_training(segment) for segment in segments]
    clock = _clock(segments, found, epochs_only)
    rows, redone, gaps, resumed = _timeline(segments, 0, clock)
    origin = next((row.segment for row in rows if row.phase == "train"), 0)
    if superseded := sum(bool(segment.training()) for segment in segments[:origin]):
        clock = _clock(segments[origin:], found, epochs_only)
        rows, _, gaps, resumed = _timeline(segments[origin:], origin, clock)
    return Log(
        format=name,
        sources=sources,
        rows=tuple(row for row in rows if row.values or not epochs_only),
        markers=tuple(_numbered(segments, origin if superseded else 0)),
        iters_per_epoch=clock.known,
        max_epochs=1 if clock.by_iteration else _max_epochs(found),
        interval=clock.interval,
        segments=max(1, len(segments)),
        restarts=max(0, sum(bool(segment.training()) for segment in segments) - 1),
        superseded=superseded,
        redone_iterations=redone,
        gaps=tuple(gaps),
        resumed=tuple(resumed),
        skipped_lines=found.skipped,
        epochs_only=epochs_only,
        setup=_setup(found),
        config=found.config,
    )


def _epochs_only(segments: list[Segment]) -> bool:
    """Whether the log knows means of epochs and no iterations."""
    phases = {row.phase for segment in segments for row in segment.rows}
    return "epoch" in phases and "train" not in phases


def _as_training(segment: Segment) -> Segment:
    """The same with the means of epochs as its training rows."""
    rows = (replace(row, iteration=0, iters_per_epoch=None) for row in segment.rows)
    return replace(
        segment, rows=[replace(row, phase="train") if row.phase == "epoch" else row for row in rows]
    )


def _by_iteration(segments: list[Segment], found: Collector) -> bool:
    """Whether iterations count over the whole run: JSON rows do not say it, their numbers do."""
    rows = [row for segment in segments for row in segment.training() or segment.rows]
    if any(row.by_iteration for row in rows) or found.config.get("runner.type") == "IterBasedRunner":
        return True
    if any(row.from_zero for row in rows):
        return False
    changes = [later.iteration > last.iteration for last, later in _epoch_changes(segments)]
    return bool(changes) and all(changes)


def _epoch_changes(segments: list[Segment]) -> list[tuple[RowSeen, RowSeen]]:
    """The last row of each epoch that was left behind, and the row after it."""
    pairs = [pair for segment in segments for pair in pairwise(segment.training())]
    return [(last, later) for last, later in pairs if later.epoch > last.epoch]


def _epoch_length(segments: list[Segment], found: Collector, by_iteration: bool) -> int | None:
    """Iterations of an epoch as printed; else, once one was left behind, the last one logged in any,
    which is short by less than the logging interval."""
    if by_iteration:
        config_iters = found.config.get("runner.max_iters")
        return found.max_iters or (config_iters if isinstance(config_iters, int) else None)
    printed = [row.iters_per_epoch for segment in segments for row in segment.rows if row.iters_per_epoch]
    if printed:
        return printed[-1]
    logged = [row.iteration for segment in segments for row in segment.training()]
    return (max(logged) if _epoch_changes(segments) else 0) or None


def _interval(starts: Iterable[Sequence[Row | RowSeen]]) -> int | None:
    """The usual distance of two logged iterations."""
    pairs = (pair for training in starts for pair in pairwise(training))
    distances = Counter(later.iteration - row.iteration for row, later in pairs if later.epoch == row.epoch)
    return distances.most_common(1)[0][0] if distances else None


def _max_epochs(found: Collector) -> int | None:
    for value in (found.max_epochs, found.config.get("runner.max_epochs"), found.config.get("total_epochs")):
        if isinstance(value, int):
            return value
    return None


@dataclass(frozen=True, slots=True)
class _Clock:
    """Iterations over the whole run. `length`: an epoch's, `known` where it is more than a guess."""

    by_iteration: bool
    epochs_only: bool
    known: int | None
    length: int
    interval: int | None

    def step(self, row: RowSeen) -> int:
        if self.by_iteration or self.epochs_only:
            return row.epoch if self.epochs_only else row.iteration
        done = row.iteration + 1 if row.from_zero else row.iteration
        return (row.epoch - 1) * (row.iters_per_epoch or self.length) + done

    def end_of_epoch(self, row: RowSeen, last: int) -> int:
        """The step of means and validations; the last training step where epochs are not counted."""
        if self.epochs_only:
            return row.epoch
        if self.by_iteration:
            return max(last, row.iteration) if row.max_iters else last
        return max(last, row.epoch * (row.iters_per_epoch or self.length))


def _clock(segments: list[Segment], found: Collector, epochs_only: bool) -> _Clock:
    by_iteration = _by_iteration(segments, found)
    length = _epoch_length(segments, found, by_iteration)
    trained = [segment.training() for segment in segments]
    longest = max((row.iteration for rows in trained for row in rows), default=0)
    return _Clock(by_iteration, epochs_only, length, length or longest, _interval(trained))


@dataclass(slots=True)
class _Course:
    """What one start did; before that what `parent` had done up to `start`. `end`: the first step that it
    cannot have done."""

    end: int
    rows: list[Row]
    start: int = 0
    parent: _Course | None = None

    def whole(self) -> list[Row]:
        """Every row that its weights come from."""
        parts, course, start = [self.rows], self, self.start
        while course.parent:
            course, start = course.parent, min(start, course.start)
            parts.append([row for row in course.rows if row.step <= start])
        return list(chain.from_iterable(reversed(parts)))


def _timeline(
    segments: list[Segment], origin: int, clock: _Clock
) -> tuple[list[Row], int, list[tuple[int, int]], list[tuple[int, int]]]:
    """The rows that the final weights come from, how many iterations were done more than once, from which
    step to which one no row is there, and `resumed` as in Log. `origin` is the first segment's number."""
    courses = [_Course(0, [])]  # that a later start may continue: each ends before the one before it
    redone = reached = before = 0
    gaps: list[tuple[int, int]] = []
    resumed: list[tuple[int, int]] = []
    for number, segment in enumerate(segments, start=origin):
        latest = courses[-1].rows
        last_step = max((row.step for row in latest[-10:]), default=0)  # in a row they need not rise
        rows = list(_stepped(segment, number, clock, last_step))
        training = [row for row in rows if row.phase == "train"]
        if training:
            last, spacing = training[-1].step, _spacing(training, clock)
            start = _start(segment, training, clock)
            if not start and spacing != before:
                redone = reached = 0  # of another training
            if start or reached:
                resumed.append((start, min(reached, last)))
            if start - reached >= spacing and reached:
                gaps.append((reached, start))
            redone += max(0, min(reached, last) - start)
            reached, before = max(reached, last), spacing
            # A start from zero that ended early is no ancestor of a later resume from further on.
            far = next((course for course in reversed(courses) if course.end > start), courses[-1])
            end = last + spacing
            if latest and not (start or courses[-1].end):
                # A job's output has the evaluations, its errors the bars.
                there = {(row.phase, row.epoch) for row in rows}
                rows += [row for row in latest if (row.phase, row.epoch) not in there]
                rows.sort(key=lambda row: (row.step, row.phase != "train"))
            while courses and courses[-1].end <= end:
                courses.pop()
            courses.append(_Course(end, rows, start, far if start else None))
        else:
            latest += rows
    return courses[-1].whole(), redone, gaps, resumed


def _stepped(segment: Segment, number: int, clock: _Clock, last: int) -> Iterator[Row]:
    for row in segment.rows:
        if row.phase == "train":
            last = clock.step(row)
        step = last if row.phase == "train" else clock.end_of_epoch(row, last)
        epoch = 1 if clock.by_iteration else row.epoch
        yield Row(step, epoch, row.iteration, row.phase, number, row.values)


def _start(segment: Segment, training: list[Row], clock: _Clock) -> int:
    """The step after which this segment trained: as the trainer says, else from its first row."""
    first = training[0]
    if segment.within:
        epochs, iterations = segment.within
        begun = epochs * (segment.training()[0].iters_per_epoch or clock.length) + iterations
        if begun < first.step:
            return begun
    said = [m.iteration for m in segment.markers if m.kind == "resumed" and m.iteration is not None]
    if said:
        # What continued within an epoch logs its first row further on than one interval.
        known = len(training) > 1 or clock.interval
        spacing = _spacing(training, clock) if known else first.step
        return min(max(said[-1], first.step - spacing), first.step - 1)
    if clock.epochs_only or any(row.from_zero for row in segment.rows):  # logs the first one of an epoch
        return first.step - first.iteration - 1
    alone = len(training) == 1 and segment.introduced and not (segment.copy_of or clock.by_iteration)
    # mmcv logs every n-th iteration of an epoch, and begins each epoch with its first one. A row before the
    # n-th is of a trainer that logs the first: the epoch before it stays.
    spacing = first.iteration if alone else _spacing(training, clock)
    return max(0, first.step - min(spacing, first.iteration or spacing))


def _spacing(training: list[Row], clock: _Clock) -> int:
    """How many iterations are between two rows of one start."""
    guess = training[-1].iteration if len(training) > 1 else clock.interval or 0  # of a row per epoch, or one
    return max(1, _interval([training]) or guess)


def _numbered(segments: list[Segment], origin: int) -> Iterator[Marker]:
    """All markers; of the segments before `origin` only which starts there were."""
    for number, segment in enumerate(segments):
        for marker in segment.markers:
            if number >= origin or marker.kind in ("started", "resumed"):
                yield replace(marker, segment=number)


def _setup(found: Collector) -> dict[str, str]:
    backend = found.config.get("dist_params.backend")
    lost = {"lines of numbers that could not be read": str(found.skipped)} if found.skipped else {}
    return {**({"backend": backend} if isinstance(backend, str) else {}), **found.setup, **lost}
