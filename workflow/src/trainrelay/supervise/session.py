"""One launch of a stage's training: attempts, one after the other, until there is nothing more to try.

Each cause has one layer that retries it. What can be mended in the same allocation is tried again here; what
only a person can mend ends the launch with a sentence; what Slurm mends (time limit, preemption, a lost node)
ends it resumably.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from rich.console import Console

from trainrelay.records import AttemptRecord
from trainrelay.supervise.attempt import adopt, attempt
from trainrelay.supervise.decide import Again, Past, Step, next_step
from trainrelay.supervise.display import Display, display
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.recover import orphaned
from trainrelay.supervise.stop import StopRequest, stop_requests


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a launch ended: its last attempt, and why no other follows."""

    attempt: AttemptRecord
    step: Step


def train(job: StageJob, console: Console) -> Outcome:
    """Trains a stage until it is complete or nothing more can be tried; progress goes to `console`.

    Raises Refusal where a training of this stage may still run or would be lost, Interrupted where we were
    asked to stop before a trainer was started, UserError where it could not be started. Call it from the main
    thread. When it returns or raises, no process of an attempt is left.
    """
    shown = display(console, job.name, job.epochs, time.monotonic)
    with stop_requests() as stop, contextlib.closing(shown):
        return _Launch(job, shown, stop).run()


class _Launch:
    """The attempts of one launch."""

    def __init__(self, job: StageJob, shown: Display, stop: StopRequest) -> None:
        self._job, self._shown, self._stop = job, shown, stop
        self._ladder = [rung.name for rung in job.ladder]
        self._past: list[Past] = []

    def run(self) -> Outcome:
        """Attempts until a step says that none follows."""
        rung = self._ladder[0]
        while True:
            record = self._attempt(rung)
            step = next_step(self._past, self._ladder, self._job.most_without_checkpoint)
            if not isinstance(step, Again):
                return Outcome(record, step)
            self._shown.note(f"tries again on {step.rung} ({step.reason})")
            rung = step.rung

    def _attempt(self, rung: str) -> AttemptRecord:
        """One attempt, the first one that of a dead supervisor where it goes on; noted for the next step."""
        before = self._newest()
        orphan = None if self._past else orphaned(self._job)
        if orphan is not None:
            record = adopt(self._job, orphan, self._shown, self._stop)
        else:
            record = attempt(self._job, self._job.rung(rung), self._shown, self._stop)
        self._past.append(self._seen(record, before))
        return record

    def _seen(self, record: AttemptRecord, newest_before: int) -> Past:
        return Past(
            end=record.end or "lost",
            rung=record.backend if record.backend in self._ladder else self._ladder[0],
            steps=record.last_epoch is not None,
            new_checkpoint=self._newest() > newest_before,
            port_fixed=self._job.port is not None,
        )

    def _newest(self) -> int:
        """The newest epoch with a checkpoint; whether it is sound is judged when it is resumed from."""
        return max((epoch for epoch, _ in self._job.trainer.checkpoints(self._job.work_dir)), default=0)
