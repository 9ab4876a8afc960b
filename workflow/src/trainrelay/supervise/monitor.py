"""One running trainer: its log followed, its resume proved, its progress shown, its hangs noticed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

from trainrelay.checkpoint import Glance
from trainrelay.errors import UserError
from trainrelay.progress_lines.bars import parts
from trainrelay.progress_lines.not_finite import LOST_AFTER_ITERATIONS, LOST_AFTER_LINES, not_finite
from trainrelay.records import AttemptRecord
from trainrelay.supervise.display import Display
from trainrelay.supervise.epoch_counting import EpochCounting
from trainrelay.supervise.hangs import HangDetector
from trainrelay.supervise.hook import Hook
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.process_list import Launcher
from trainrelay.supervise.resume import ResumeProof
from trainrelay.supervise.telemetry import TelemetryReader
from trainrelay.system.files import size_of
from trainrelay.system.tail import Tail
from trainrelay.text import printable, quoted
from trainrelay.trainers import Follower, StepSeen, Trainer

POLL_S = 0.1  # a stop is felt at once, and a look at a log without news costs a system call
SAVES_EVERY_S = 10.0  # a work dir is often on a network file system
_LOOK_S = 0.5  # as checkpoint_keeper's
_SAMPLES = 3  # lines that show what a log holds
_SAMPLE_CHARS = 160  # of each: together they fit into one event
MAX_LINES = 4000  # of the beginning, and as many of the end: the first failure, and the launcher's summary
_MAX_LINE_CHARS = 4000  # a record quotes 300 of a line; a line without an end must not fill the memory


class RecentLines:
    """The lines of a log since the last progress line but one: what comes before was survived.

    One progress line back, because a rank may print its progress after another rank's exception.
    """

    def __init__(self) -> None:
        self._before: list[str] = []
        self._now: list[str] = []

    def add(self, line: str) -> None:
        """The next line of the log."""
        self._now.append(line[:_MAX_LINE_CHARS])
        if len(self._now) > 2 * MAX_LINES:
            del self._now[MAX_LINES]

    def progressed(self) -> None:
        """The line added last showed progress."""
        self._before, self._now = self._now, []

    def lines(self) -> list[str]:
        """What is kept, in order."""
        return [*self._before, *self._now]


class Divergence:
    """Counts progress lines in a row that are not finite: the hours after them would be wasted."""

    def __init__(self) -> None:
        self._since: StepSeen | None = None
        self._lines = 0

    def see(self, seen: StepSeen) -> str | None:
        """The sentence that says so, once there are too many."""
        if (what := not_finite(seen.loss, seen.grad_norm)) is None:
            self._since, self._lines = None, 0
            return None
        self._since, self._lines = self._since or seen, self._lines + 1
        # Where the norm alone shows it.
        loss_hides_it = seen.loss is None or math.isfinite(seen.loss)
        if self._lines < LOST_AFTER_LINES or (
            loss_hides_it and _iterations(self._since, seen) < LOST_AFTER_ITERATIONS
        ):
            return None
        return f"{what} on {self._lines} progress lines in a row, from {self._since.place} on"


def _iterations(since: StepSeen, seen: StepSeen) -> int:
    """From the one line to the other, both included."""
    return (seen.epoch - since.epoch) * (seen.iters_per_epoch or 0) + seen.iteration - since.iteration + 1


class TrainerMonitor:
    """What has been seen of a trainer so far.

    As long as no line is understood, a checkpoint in its work dir that grows is a sign of life.
    """

    def __init__(
        self, job: StageJob, attempt: AttemptRecord, display: Display, hook: Hook, telemetry: TelemetryReader
    ) -> None:
        self.trainer, self.work_dir, self.attempt = job.trainer, job.work_dirs.current, attempt
        self.display, self.hook, self.telemetry = display, hook, telemetry
        self.hangs, self.diverging = HangDetector(job.hang_timeout_s), Divergence()
        self.counting = EpochCounting(attempt, learns=job.learns_base)
        self.proof = ResumeProof(
            attempt.resumed_from,
            by_epoch=job.trainer.resume_proof == "epoch",
            base_known=attempt.epoch_bases.saved is not None,
            reached=max((one.last_epoch or 0 for one in job.dirs().attempts), default=0),
        )
        self.recent = RecentLines()
        self.not_resumed: str | None = None
        self.diverged: str | None = None
        self.hang: str | None = None
        self._bar = ""
        self._files: set[tuple[str, int]] | None = None
        self._next_s = self._look_s = float("-inf")
        self._unknown_said = self._slow_said = False
        self._follower = Follower(self.trainer)
        # What is read instead of the log.
        self._rows = self.trainer.rows(self.work_dir, attempt.metrics_from)
        # The first and the newest that was shown, and when.
        self._steps: tuple[tuple[float, StepSeen], ...] = ()

    @property
    def last_step(self) -> StepSeen | None:
        """The newest progress line that later ones do not contradict."""
        return self.hangs.last_step

    @property
    def s_per_iteration(self) -> float | None:
        """Wall seconds, evaluation and saving among them, but no start-up; None where too little was seen."""
        if not self._steps:
            return None
        (first_s, first), (last_s, last) = self._steps
        done = (last.epoch - first.epoch) * (last.iters_per_epoch or 0) + last.iteration - first.iteration
        return (last_s - first_s) / done if done > 0 and last_s > first_s else None

    @property
    def must_end(self) -> bool:
        """Whether this attempt is to be ended: continuing cannot help."""
        return any((self.not_resumed, self.diverged, self.hang))

    def look(self, tail: Tail) -> None:
        """Takes in what the log says now, and how long there has been no output."""
        before, now_s = tail.read_bytes, time.monotonic()
        self.hangs.tick(now_s)
        self.read(tail.lines(), tail)
        if tail.read_bytes > before or self._checkpoint_grew(now_s):
            self.hangs.said(now_s)
        if self.telemetry.look(now_s) and (newest := self.telemetry.newest):
            self.hangs.worked(now_s, newest.first.steps)
            # A log that is understood tells more.
            if self.last_step is None and (step := newest.progress(self.attempt)):
                self.display.step(step)
        if self.hangs.unknown and not self._unknown_said:
            self._unknown_said = True
            self._say_unknown()
        self.hang = self.hangs.hung(now_s)
        for said in self.hook.look(now_s) if self.last_step else ():
            self.display.note(said)
        if self.counting.bases.saved is None or now_s >= self._look_s:
            self._look_s = now_s + (0.0 if self.counting.look(self.glances()) else _LOOK_S)

    def glances(self) -> dict[Path, Glance]:
        """What the files say that look like checkpoints; none where all of them are known to be whole."""
        files = self.trainer.saved(self.work_dir) if self.trainer.epoch_bases is None else ()
        return {path: self.trainer.glance(path) for path in files}

    def read(self, lines: Iterable[str], tail: Tail | None = None) -> None:
        """Takes in new lines of the log, and the state of a progress bar that ends no line yet."""
        before = self.last_step
        for line in chain.from_iterable(map(parts, lines)):
            self.recent.add(line)
            if self._rows is None:
                self._see(line)
        if tail is not None and tail.bar != self._bar:
            self._bar = tail.bar
            self._see(self._bar)
        if self._rows is not None:
            for row in self._rows.lines() if tail else self._rows.remaining():
                self._see(row)
        self._say_slow()
        # Lines that come together (a log that is read again) show no speed, so only the last one is shown.
        if self.last_step is not None and self.last_step is not before:
            self.display.step(self.last_step)
            now = (time.monotonic(), self.last_step)
            self._steps = (self._steps[0] if self._steps else now, now)

    def _see(self, line: str) -> None:
        """Takes in what a line says."""
        if (seen := self._follower.see(line)) is None:
            return
        if isinstance(seen, StepSeen):
            seen = self.counting.step(seen)
        self.not_resumed = self.not_resumed or self.proof.see(seen)
        # What a progress bar or another rank says again is no further line.
        if isinstance(seen, StepSeen) and self.hangs.stepped(time.monotonic(), seen):
            self.diverged = self.diverged or self.diverging.see(seen)
            self.recent.progressed()

    def _checkpoint_grew(self, now_s: float) -> bool:
        """Whether a checkpoint grew, which is looked for as long as no line shows progress."""
        if self.last_step is not None or now_s < self._next_s:
            return False
        before, self._files, self._next_s = (
            self._files,
            _sizes(self.trainer, self.work_dir),
            now_s + SAVES_EVERY_S,
        )
        return before is not None and not self._files <= before

    def _say_slow(self) -> None:
        """A pattern of the user's that was left out is named once."""
        if (lines := self._follower.described) and lines.slow and not self._slow_said:
            self._slow_said = True
            slowest = lines.slow.most_common(1)[0][0]
            self.display.note(
                f"a pattern of script.progress takes too long, and is left out: {quoted(slowest)}"
            )

    def _say_unknown(self) -> None:
        lines = [line for line in (*self.recent.lines(), self._bar) if line.strip()]
        shown = "; ".join(printable(line.strip())[:_SAMPLE_CHARS] for line in lines[-_SAMPLES:])
        newest = self.telemetry.newest
        known = f"alive ({newest})" if newest and newest.first.steps else "alive, progress unknown"
        said = f"{known}: no line of the trainer's output is understood as progress"
        self.display.note(f"{said}; the last ones: {shown}" if shown else said)


def _sizes(trainer: Trainer, folder: Path) -> set[tuple[str, int]]:
    with suppress(OSError, UserError):
        return {(path.name, size_of(path)) for path in trainer.saved(folder)}
    return set()


def follow_to_end(
    launcher: Launcher, tail: Tail, monitor: TrainerMonitor, stopping: Callable[[], bool]
) -> bool:
    """Watches until the launcher has ended (True) or must be ended (False)."""
    while True:
        running = launcher.running()
        monitor.look(tail)
        if not running:
            return True
        if stopping() or monitor.must_end:
            return False
        time.sleep(POLL_S)
