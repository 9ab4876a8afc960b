"""One launch of a stage's training: attempts, one after the other, until there is nothing more to try.

Each cause has one layer that retries it. What a retry in the same allocation can cure is retried here; what
needs your decision ends the launch with a sentence; what Slurm requeues (time limit, preemption, a lost node)
ends it resumably.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from trainrelay.errors import NoProgress
from trainrelay.records import AttemptRecord, Decision, ProbeResult
from trainrelay.supervise.attempt import Surroundings, adopt, attempt
from trainrelay.supervise.attempt_end import finished_unseen
from trainrelay.supervise.attempt_folders import newest_number, write_attempt
from trainrelay.supervise.decide import (
    FINISH,
    STOP_RESUMABLY,
    PastAttempt,
    Retry,
    Step,
    after_probe,
    next_step,
    out_of_attempts,
    past_attempt,
    past_attempts,
)
from trainrelay.supervise.display import Display
from trainrelay.supervise.events import recorder
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.lease.lease import Lease
from trainrelay.supervise.nodes import wait_for_nodes
from trainrelay.supervise.probe import probe_ladder, probe_rung, result_text
from trainrelay.supervise.process_list import adopt_orphans
from trainrelay.supervise.recover import close_open_attempts, orphaned_attempt, wait_for_killed
from trainrelay.supervise.resume import leftovers
from trainrelay.supervise.stop import StopOrderWatch, stop_requests
from trainrelay.trainers import Rung
from trainrelay.training.attempts import list_attempts
from trainrelay.training.launch_id import LAUNCH_VARIABLE
from trainrelay.training.step_checkpoints import roll

_FIX_LADDER = (
    "fix the network or the driver, or name a backend that works in the stage's `backends`, then run the same"
    " command again"
)


def train(job: StageJob, console: Console, lease: Lease) -> AttemptRecord:
    """Trains a stage until it is complete or nothing more can be tried; the last attempt, with that decision.

    Progress goes to `console`.

    The lease must be held; where it is lost, the trainer is ended at once and Fenced raised.

    Raises Refusal if a training of this stage may still run or would be lost, Interrupted if a stop was
    requested before a trainer was started, UserError if it could not be started. Call it from the main
    thread. When it returns or raises, no process of an attempt is left.
    """
    record = recorder(job.supervision, lambda: newest_number(job.stage_dir), lease.guard)
    shown = Display(console, job.name, job.asked, time.monotonic, record)
    asked = StopOrderWatch(job.supervision, lease.owner, shown.note)
    adopt_orphans()
    with stop_requests(asked) as stop, contextlib.closing(shown):
        return _Launch(job, Surroundings(shown, stop, lease)).run()


class _Launch:
    """The attempts of one launch."""

    def __init__(self, job: StageJob, around: Surroundings) -> None:
        self._job, self._around, self._shown, self._stop = job, around, around.shown, around.stop
        self._ladder = [rung.name for rung in job.ladder]
        # Of this call of Snakemake, those of jobs before ours included.
        self._past: list[PastAttempt] = []
        self._probes: list[ProbeResult] = []  # since the last attempt

    def run(self) -> AttemptRecord:
        """Attempts until a step says that none follows."""
        record = self._first_attempt()
        while True:
            self._shown.note(f"attempt {record.number} ended: {record.end} ({record.reason})")
            step = self._next_step()
            if isinstance(step, Retry) and self._stop.requested:
                step = STOP_RESUMABLY
            record = self._record_decision(record, step)
            if step == FINISH:
                roll(self._job.stage_dir, keep=0)  # the last checkpoint holds all that they do
                if self._job.retain:
                    self._job.retain(self._around.lease.guard, self._shown.note)
            if not isinstance(step, Retry):
                return record
            self._job.leave_bad_nodes()
            self._shown.note(f"retrying on {step.rung} ({step.reason})")
            record = self._new_attempt(step.rung)

    def _first_attempt(self) -> AttemptRecord:
        """What a dead supervisor left, trainer or finished training; else a new attempt."""
        if orphan := orphaned_attempt(self._job):
            self._take_up_past(orphan)
            return self._followed(lambda: adopt(self._job, orphan, self._around))
        close_open_attempts(self._job, self._shown.note)
        if found := finished_unseen(self._job):
            self._past.append(self._past_attempt(found, self._job.reached()))
            return found
        self._take_up_past(None)
        self._job.leave_bad_nodes()
        return self._new_attempt(self._best_rung())

    def _take_up_past(self, orphan: AttemptRecord | None) -> None:
        """What jobs before ours tried; NoProgress if too many saved no new checkpoint."""
        attempts = list_attempts(self._job.stage_dir)
        ours = [attempt for attempt in attempts if orphan is None or attempt.tag != orphan.tag]
        self._past = past_attempts(ours, os.environ.get(LAUNCH_VARIABLE), self._job.reached(), self._ladder)
        if final := out_of_attempts(self._past, self._job.most_without_checkpoint):
            self._record_decision(ours[-1], final)
            raise NoProgress(f"{self._job.name}: {final.reason}; {final.what_to_do}")

    def _record_decision(self, record: AttemptRecord, step: Step) -> AttemptRecord:
        """What was concluded goes into the attempt's record, where the stage's status is read."""
        decision = Decision(step="again", reason=step.reason) if isinstance(step, Retry) else step
        if decision.step == "final":
            self._shown.note(f"stopped, needs your decision: {decision.reason}")
        self._around.lease.guard()
        return write_attempt(self._job.stage_dir, record.model_copy(update={"decision": decision}))

    def _next_step(self) -> Step:
        """The next step, every probe that it asks for done."""
        step = next_step(self._past, self._ladder, self._job.most_without_checkpoint)
        while isinstance(step, Retry) and step.probe_first and not self._stop.requested:
            result = self._probe(self._job.rung(step.rung))
            self._shown.note(result_text(result))
            step = after_probe(step, result.outcome == "works", self._ladder)
        return step

    def _best_rung(self) -> str:
        """The first rung of the ladder that works here; a ladder of one rung has nothing to choose."""
        job = self._job
        if not job.probe or len(job.ladder) == 1:
            return self._ladder[0]
        results = probe_ladder(job.ladder, self._probe, self._shown.note)
        if results[-1].outcome == "works":
            return results[-1].rung
        tried = "; ".join(result_text(result) for result in results)
        raise NoProgress(
            f"{job.name}: no backend of the ladder works on this machine: {tried}; {_FIX_LADDER}"
        )

    def _probe(self, rung: Rung) -> ProbeResult:
        log = self._job.stage_dir / "probe" / f"{rung.name}.log"
        deadline_s, request = self._job.probe_timeout_s, self._job.request
        self._wait_for_nodes()
        result = probe_rung(request, rung, log, deadline_s=deadline_s, stopped=lambda: self._stop.requested)
        self._probes.append(result)
        return result

    def _new_attempt(self, rung: str) -> AttemptRecord:
        """One new attempt."""
        self._wait_for_nodes()
        if self._past:
            wait_for_killed(self._job.stage_dir, self._shown.note, lambda: self._stop.requested)
        probes, self._probes = self._probes, []
        return self._followed(lambda: attempt(self._job, self._job.rung(rung), self._around, probes))

    def _followed(self, to_its_end: Callable[[], AttemptRecord]) -> AttemptRecord:
        """An attempt's record, noted for the next step."""
        before = self._job.reached()
        record = to_its_end()
        self._past.append(self._past_attempt(record, before))
        return record

    def _wait_for_nodes(self) -> None:
        wait_for_nodes(self._job.request, self._shown.note, lambda: self._stop.requested)

    def _past_attempt(self, record: AttemptRecord, before: tuple[int, int]) -> PastAttempt:
        base, (epochs, iterations) = self._job.work_dirs.epoch_base, before
        self._job = self._job.with_bases(record.epoch_bases)
        epochs += self._job.work_dirs.epoch_base - base if epochs else 0
        reached = self._job.reached()
        puzzling = record.end == "unfinished" and self._job.unrecognised()
        return replace(
            past_attempt(record, reached > (epochs, iterations), self._ladder),
            brought=reached[0] - epochs,
            port_fixed=self._job.port is not None,
            left=leftovers(self._job, record) if puzzling or reached[0] < 0 else None,
        )
