"""One running trainer: its log followed, its resume proved, its progress shown, its hangs noticed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from trainrelay.checkpoint import Glance, glance
from trainrelay.command import Observation, StepSeen, Trainer, checkpoint_files
from trainrelay.supervise.counting import Counting
from trainrelay.supervise.display import Display
from trainrelay.supervise.diverging import Diverging
from trainrelay.supervise.launcher import Launcher
from trainrelay.supervise.recent import Recent
from trainrelay.supervise.resume import ResumeProof
from trainrelay.supervise.tail import Tail
from trainrelay.supervise.watchdog import Hang, Watchdog

POLL_S = 0.2
_KNOWN_LOOK_S = 10.0  # from one look at the checkpoints to the next, once it is known how they count


@dataclass(slots=True)
class Watch:
    """What has been seen of a trainer so far."""

    trainer: Trainer
    proof: ResumeProof
    display: Display
    watchdog: Watchdog
    counting: Counting
    work_dir: Path
    recent: Recent = field(default_factory=Recent)
    diverging: Diverging = field(default_factory=Diverging)
    last_step: StepSeen | None = None
    not_resumed: str | None = None
    diverged: str | None = None
    hang: Hang | None = None
    _looked_s: float = float("-inf")

    @property
    def must_end(self) -> bool:
        """Whether nothing good can come of this attempt any more."""
        return any((self.not_resumed, self.diverged, self.hang))

    def look(self, tail: Tail) -> None:
        """Takes in what the log says now, and how long it has said nothing."""
        before, now_s = tail.read_bytes, time.monotonic()
        self.watchdog.tick(now_s)
        self.read(tail.lines())
        if tail.read_bytes > before:
            self.watchdog.said(now_s)
        self.hang = self.watchdog.hung(now_s)
        if self.counting.bases.saved is None or now_s - self._looked_s >= _KNOWN_LOOK_S:
            self._looked_s = now_s
            self.counting.look(self.saves())

    def saves(self) -> dict[Path, Glance]:
        """What the files say that look like checkpoints; none where nothing is to be learned from them."""
        files = checkpoint_files(self.work_dir) if self.counting.learns else ()
        return {path: glance(path) for path in files}

    def read(self, lines: Iterable[str]) -> None:
        """Takes in new lines of the log."""
        before = self.last_step
        for line in lines:
            self.recent.add(line)
            if seen := self.trainer.observe(line):
                self._take(seen)
        # Lines that come together (a log that is read again) tell no speed, so the last of them is shown.
        if self.last_step is not None and self.last_step is not before:
            self.display.step(self.last_step)

    def _take(self, seen: Observation) -> None:
        if isinstance(seen, StepSeen):
            seen = self.counting.step(seen)
        self.not_resumed = self.not_resumed or self.proof.see(seen)
        if isinstance(seen, StepSeen):
            self.last_step = seen
            self.diverged = self.diverged or self.diverging.see(seen)
            self.recent.progressed()
            self.watchdog.stepped(time.monotonic(), seen)


def follow(launcher: Launcher, tail: Tail, watch: Watch, stopping: Callable[[], bool]) -> bool:
    """Watches until the launcher has ended (True) or must be ended (False)."""
    while True:
        running = launcher.running()
        watch.look(tail)
        if not running:
            return True
        if stopping() or watch.must_end:
            return False
        time.sleep(POLL_S)
