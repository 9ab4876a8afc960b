"""One stage watched over time: what each look reads, and what it keeps from the looks before."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord
from trainrelay.supervise import BelievedProgress, Observer, Speed, newest_telemetry, read_events
from trainrelay.system.tail import Tail
from trainrelay.text import printable
from trainrelay.trainers import Follower, StepSeen, Trainer
from trainrelay.training import state
from trainrelay.training.attempts import attempt_log, left_running
from trainrelay.training.bad_nodes import of_run
from trainrelay.training.context import StageContext
from trainrelay.training.state import Facts
from trainrelay.watching.row import LogSample, StageRow, StageStatus, stage_row, status_of
from trainrelay.watching.table import MOST_LOSSES

_FIRST_READ_BYTES = 2_000_000  # the end of a log that is already there: more than 40 lines of any trainer


class LogSampler:
    """The last progress lines of a log: the last step, losses, speed."""

    def __init__(
        self, log: Path | Tail, trainer: Trainer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._follower = Follower(trainer)
        self._tail = log if isinstance(log, Tail) else Tail(log, last_bytes=_FIRST_READ_BYTES)
        self._speed, self._course = Speed(clock), BelievedProgress()
        self.losses: deque[float] = deque(maxlen=MOST_LOSSES)

    @property
    def step(self) -> StepSeen | None:
        """The newest progress line that later ones do not contradict."""
        return self._course.last

    @property
    def iterations_per_s(self) -> float | None:
        """As it was seen to grow; None until it has."""
        return self._speed.iterations_per_s

    def look(self) -> None:
        """Takes in what is new; a log that is not there yet is none."""
        with suppress(OSError):
            before = self.step
            for line in self._tail.lines():
                self._see(line)
            self._see(self._tail.bar)
            # Lines read in one look came at times that nobody saw.
            if self.step is not None and self.step != before:
                self._speed.step(self.step)

    def _see(self, line: str) -> None:
        seen = self._follower.see(line)
        if isinstance(seen, StepSeen) and self._course.further(seen) and seen.loss is not None:
            self.losses.append(seen.loss)

    def close(self) -> None:
        """Closes the log."""
        self._tail.close()


@dataclass(slots=True)
class StageWatch:
    """One observer of one stage. `clock` is monotonic, for what moves; `now` tells Unix time."""

    at: StageContext
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    observer: Observer = field(init=False)
    _log: LogSampler | None = None
    _attempt: str | None = None  # whose log that is: the tag
    _ends: dict[str, LastStep] = field(default_factory=dict)  # of ended attempts, by tag

    def __post_init__(self) -> None:
        self.observer = Observer(self.at.paths.supervision, clock=self.clock)

    def look(self) -> StageRow:
        """The stage at this moment; its row names damaged files."""
        try:
            return self._look()
        except UserError as error:
            return StageRow(self.at.run, self.at.stage, "unreadable", printable(str(error)))

    def _look(self) -> StageRow:
        facts = state.read(self.at)
        judged = state.judge(facts)
        reason, shown = judged.reason, status_of(judged.kind, self.observer.look())
        if not shown.live and (left := left_running(facts.paths.folder, facts.attempts)):
            what = f"its supervisor died, but what it started still runs here: {', '.join(map(str, left))}"
            how = f"to end it, run: trainrelay stop {facts.name}"
            reason = f"{what}; the next start follows it if it trains; {how}"
            shown = StageStatus("orphaned", live=False)
        lost = iterations_lost(facts.attempts, self._known_ends(facts))
        event = next(reversed(read_events(facts.paths.supervision)), None)
        row = stage_row(facts, reason, shown, self._sample(facts), lost=lost, event=event, now_s=self.now())
        bad = {} if shown.label == "complete" else of_run(self.at)
        return replace(row, bad_nodes=tuple(map(printable, bad.values())))

    def _sample(self, facts: Facts) -> LogSample:
        """What the newest attempt's log says."""
        if not facts.attempts:
            return LogSample()
        newest = facts.attempts[-1]
        if self._log is None or newest.tag != self._attempt:
            if self._log is not None:
                self._log.close()
            self._log, self._attempt = self._sampler(facts, newest), newest.tag
        self._log.look()
        step = self._log.step.counted(newest.epoch_bases) if self._log.step else None
        counted = newest_telemetry(attempt_log(facts.paths.folder, newest).parent)
        if step is None and counted:  # the log cannot be read
            step = counted.progress(newest)
        speed = self._log.iterations_per_s or (counted.iterations_per_s if counted else None)
        return LogSample(step, tuple(self._log.losses), speed, counted)

    def _sampler(self, facts: Facts, attempt: AttemptRecord) -> LogSampler:
        table = self.at.trainer.rows(facts.work_dirs.current, attempt.metrics_from)
        return LogSampler(table or attempt_log(facts.paths.folder, attempt), self.at.trainer, self.clock)

    def _known_ends(self, facts: Facts) -> dict[int, LastStep]:
        """Where each attempt but the newest ended, by number; one whose end nobody saw is asked its log."""
        for attempt in facts.attempts[:-1]:
            if attempt.tag not in self._ends:
                self._ends[attempt.tag] = recorded_last_step(attempt) or self._last_step(facts, attempt)
        return {one.number: self._ends[one.tag] for one in facts.attempts if one.tag in self._ends}

    def _last_step(self, facts: Facts, attempt: AttemptRecord) -> LastStep:
        log = self._sampler(facts, attempt)
        log.look()
        log.close()
        step = log.step.counted(attempt.epoch_bases) if log.step else None
        return (step.epoch, step.iteration, step.iters_per_epoch) if step else (1, 0, None)


LastStep = tuple[int, int, int | None]  # epoch, iteration in it, iterations per epoch where known


def recorded_last_step(attempt: AttemptRecord) -> LastStep | None:
    """The last step that an attempt's record tells of."""
    if attempt.last_epoch is None or attempt.last_iteration is None:
        return None
    return attempt.last_epoch, attempt.last_iteration, attempt.iters_per_epoch


def iterations_lost(attempts: Sequence[AttemptRecord], ends: Mapping[int, LastStep]) -> int:
    """Iterations past the checkpoint that the next attempt began with; `ends` by number of the attempt."""
    return sum(_lost(ends[one.number], after) for one, after in pairwise(attempts) if one.number in ends)


def _lost(end: LastStep, after: AttemptRecord) -> int:
    epoch, iteration, per_epoch = end
    epochs, iterations = after.began
    if epochs and per_epoch is None:  # then nothing but the part of the last epoch can be counted
        return max(0, iteration - iterations) if epochs == epoch - 1 else 0
    return max(0, (epoch - 1 - epochs) * (per_epoch or 0) + iteration - iterations)
