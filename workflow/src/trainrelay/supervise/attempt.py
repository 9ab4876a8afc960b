"""One attempt of a stage's training, from what the last one left to the record of its end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainrelay.errors import Fenced, Interrupted, UserError
from trainrelay.records import AttemptRecord, EndClass, ProbeResult, ResumePoint
from trainrelay.supervise import slurm_run
from trainrelay.supervise.attempt_end import close_record, judge_end, with_bases
from trainrelay.supervise.attempt_folders import (
    NumberTaken,
    attempt_folder,
    next_number,
    open_attempt,
    write_attempt,
)
from trainrelay.supervise.checkpoint_keeper import CheckpointKeeper
from trainrelay.supervise.display import Display
from trainrelay.supervise.hangs import describe_stacks, save_stacks, with_stack_dumps
from trainrelay.supervise.hook import Hook
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.lease.lease import Lease
from trainrelay.supervise.monitor import TrainerMonitor, follow_to_end
from trainrelay.supervise.process import Ending, NotStarted, start_explained, start_prefixed
from trainrelay.supervise.process_list import Child, Launcher, Orphans, ProcessList
from trainrelay.supervise.recover import close_open_attempts
from trainrelay.supervise.resume import prepared, set_aside, starting_points
from trainrelay.supervise.slurm_run import SlurmStop, why_stopped
from trainrelay.supervise.stop import StopRequest
from trainrelay.supervise.telemetry import TelemetryReader
from trainrelay.system.alive import here, stat
from trainrelay.system.ports import free_port
from trainrelay.system.tail import Tail
from trainrelay.text import count, quoted
from trainrelay.trainers import Launch, Rung, prefixed
from trainrelay.training.launch_id import LAUNCH_VARIABLE
from trainrelay.training.step_checkpoints import read_steps

_FOR_STEP = 2 / 3  # of the grace; a trainer that cannot answer has the rest to act on SIGTERM
_MOST_S = 600.0  # for a step checkpoint, whatever was measured
_LEAST_S = 10.0  # of what Slurm leaves, to end the trainer and record that
_RECORD_S = 30.0  # of what Slurm leaves: for the end's record, and the requeue


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an attempt works with: where notes go, whether to stop, whether it may write."""

    shown: Display
    stop: StopRequest
    lease: Lease


def attempt(
    job: StageJob, rung: Rung, around: Surroundings, probes: Sequence[ProbeResult] = ()
) -> AttemptRecord:
    """Runs one attempt on a rung, which `probes` led to; its record, `end` and `reason` filled in.

    Raises Refusal if a training of this stage may still run or would be lost, Interrupted if a stop was
    requested before the trainer was started, UserError if it could not be started. Call it from the main
    thread. When it returns or raises, no process of the attempt is left.
    """
    record, launch = _open(job, rung, around, probes)
    opened = _Attempt(job, record, around)
    return opened.recorded(lambda: opened.start(launch))


def adopt(job: StageJob, orphan: AttemptRecord, around: Surroundings) -> AttemptRecord:
    """Follows a trainer whose supervisor died to its end; nobody sees its exit status."""
    around.lease.guard()
    record = write_attempt(job.stage_dir, orphan.model_copy(update=_supervisor()))
    what = f"attempt {record.number} continues though its supervisor died"
    around.shown.note(f"{what}: following it; log: {record.log}")
    adopted = _Attempt(job, record, around)
    return adopted.recorded(adopted.adopt)


def _open(
    job: StageJob, rung: Rung, around: Surroundings, probes: Sequence[ProbeResult]
) -> tuple[AttemptRecord, Launch]:
    """The record of a new attempt, on disk, once nothing else can be training this stage; and its start."""
    shown = around.shown
    while True:
        number = next_number(job.stage_dir)
        close_open_attempts(job, shown.note, within_launch=True)
        point, step, skipped = starting_points(job)
        for sentence in skipped:
            # The command that fixes it is for starts that it stops; this one skips it.
            shown.note(f"not resumed from: {sentence.partition('; run:')[0]}; it is skipped")
        if around.stop.requested:
            raise Interrupted(f"{job.name}: stopped on request before the trainer was started")
        launch = _launch(job, rung, point)
        record = _record(job, rung, number, point, launch)
        record = record.model_copy(update={"probes": tuple(probes), "resumed_step": step})
        around.lease.guard()
        if first := job.dirs().in_first_save(job.trainer):
            shown.note(set_aside(job, first))
        for sentence in prepared(job, point):
            shown.note(sentence)
        try:
            open_attempt(job.stage_dir, record)
        except NumberTaken:
            continue
        shown.note(_start_sentence(job, record))
        return record, launch


def _start_sentence(job: StageJob, record: AttemptRecord) -> str:
    point, own = record.resumed_from, job.trainer.config_initial_checkpoint(job.request.trainer_config)
    initial = job.request.load_from or own
    scratch = f"starts at {job.trainer.unit} 1 from {initial}" if initial else "starts from the beginning"
    # You may expect it to resume where the last one ended: say why it does not.
    scratch += ": there is no checkpoint yet" if record.number > 1 else ""
    where = f"resumes after {point} from {point.path}" if point else scratch
    if step := record.resumed_step:
        where = f"resumes {step} from {step.path}"
    ranks = count(record.world_size, "rank")
    return f"attempt {record.number} ({record.backend}, {ranks}) {where}; log: {record.log}"


def _supervisor() -> dict[str, Any]:
    pid, place = os.getpid(), here()
    return {"host": place.host, "place": place, "supervisor_pid": pid, "supervisor_ticks": stat(pid).ticks}


def _record(
    job: StageJob, rung: Rung, number: int, point: ResumePoint | None, launch: Launch
) -> AttemptRecord:
    return AttemptRecord(
        number=number,
        tag=str(uuid.uuid4()),
        **_supervisor(),
        argv=list(prefixed(launch, job.request).argv),
        env=dict(launch.env),
        cwd=launch.cwd,
        log=str(attempt_folder(job.stage_dir, number) / job.log_name),
        metrics_from=_metrics_bytes(job),
        backend=rung.name,
        ladder=tuple(known.name for known in job.ladder),
        world_size=job.world_size,
        epochs=job.asked if job.trainer.unit == "epoch" else None,
        iters=job.asked if job.trainer.unit == "iteration" else None,
        resumed_from=point,
        epoch_bases=job.work_dirs.bases,
        code=job.code,
        signature=job.signature,
        slurm=slurm_run.here(os.environ),
        launch=os.environ.get(LAUNCH_VARIABLE),
        started_s=time.time(),
    )


def _metrics_bytes(job: StageJob) -> int:
    path = job.work_dirs.current / (job.trainer.metrics or "")
    return path.stat().st_size if path.is_file() else 0


def _launch(job: StageJob, rung: Rung, point: ResumePoint | None) -> Launch:
    request = replace(
        job.request,
        rung=rung,
        master_port=free_port() if job.port is None else job.port,
        master_addr=socket.gethostname(),
        resume_from=point.path if point else None,
    )
    return job.trainer.launch(request, os.environ)


class _Attempt:
    """One attempt: its trainer followed, ended, judged and recorded."""

    def __init__(self, job: StageJob, record: AttemptRecord, around: Surroundings) -> None:
        self._job, self._record = job, record
        self._stop, self._lease, self._shown = around.stop, around.lease, around.shown
        self._folder = attempt_folder(job.stage_dir, record.number)
        self._hook = Hook(self._folder, record.world_size, job.request.nodes, record.resumed_step)
        self._processes = ProcessList(job.stage_dir, record, self._lease.guard)
        self._keeper = CheckpointKeeper(job, self._shown.note, self._lease.guard, record.number)
        self._telemetry = TelemetryReader(self._folder, self._hook, self._lease.guard)
        self._monitor = TrainerMonitor(job, record, self._shown, self._hook, self._telemetry)
        self._counting = self._monitor.counting

    def start(self, launch: Launch) -> Child:
        """Starts its trainer."""
        record, inherited = self._record, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        env = with_stack_dumps({**inherited, **launch.env})  # record.env lacks secrets
        initial = None if record.resumed_from else self._job.initial
        env = self._hook.switched(
            env, on=self._job.hook, saving=self._job.steps, lease=self._lease, initial=initial
        )
        launch = replace(launch, env=env)
        with start_explained("start the trainer", record.argv[0]):
            process = start_prefixed(launch, self._job.request, Path(record.log), record.tag)
            return Child(process, self._processes)

    def adopt(self) -> Orphans:
        """Takes its trainer over from a supervisor that died."""
        self._hook.adopt(self._lease)
        return Orphans(self._processes, self._job.trainer.named(self._job.request))

    def recorded(self, begin: Callable[[], Launcher]) -> AttemptRecord:
        """Its record at its end; whatever is raised, its processes are ended and its record is closed."""
        self._keeper.start()
        threading.Thread(target=self._job.tell, daemon=True).start()
        try:
            return self._followed(begin())
        # Also for KeyboardInterrupt and SystemExit: a trainer must never outlive us unseen.
        except BaseException as error:
            self._processes.look(now=True)
            self._keeper.end(self._processes.kin, 0.0 if self._lease.lost else self._job.stop_grace_s)
            end: EndClass = "trainer-bug" if isinstance(error, NotStarted) else "lost"
            said = quoted(str(error) or type(error).__name__)
            reason = said if isinstance(error, NotStarted) else f"the supervisor failed: {said}"
            with contextlib.suppress(UserError, Fenced):
                self._write(close_record(self._record, end, reason))
            raise
        finally:
            self._keeper.close()

    def _followed(self, trainer: Launcher) -> AttemptRecord:
        job, monitor, stop = self._job, self._monitor, self._stop
        with contextlib.closing(Tail(Path(self._record.log))) as tail:
            launcher_was_gone = follow_to_end(trainer, tail, monitor, self._stopping)
            hang = self._with_stacks(monitor.hang) if monitor.hang else None
            self._processes.look(now=True)
            # Where a signal asked us to stop inside of a Slurm job: what Slurm has against the job.
            why = why_stopped(self._record.slurm, self._job.warn_s) if stop.signals else None
            ending = self._ended(trainer, why)
            monitor.read(tail.remaining())
            self._telemetry.look(float("inf"))  # at the last reports
        _note_survivors(ending, self._shown, launcher_was_gone=launcher_was_gone)
        well = trainer.status() == 0 and not stop.requested
        self._counting.finish(monitor.glances(), job.asked if well else None)
        if self._counting.doubt:
            self._shown.note(self._counting.doubt)
        closed = judge_end(
            job.with_bases(self._counting.bases),
            self._learned(),
            monitor,
            trainer.status(),
            stop_requested=stop.requested,
            stopped_by_slurm=why,
            hang=hang,
        )
        return self._write(closed)

    def _stopping(self) -> bool:
        if self._lease.lost is None and (learned := self._learned()) != self._record:
            self._lease.guard()
            self._record = learned
            with contextlib.suppress(UserError):  # at once, for the case that nobody sees the end
                write_attempt(self._job.stage_dir, learned)
        return self._stop.requested or self._lease.lost is not None

    def _learned(self) -> AttemptRecord:
        initial = self._hook.initial or self._record.initial
        return with_bases(self._record, self._counting.bases, within=self._counting.within, initial=initial)

    def _write(self, record: AttemptRecord) -> AttemptRecord:
        self._lease.guard()
        return write_attempt(self._job.stage_dir, record)

    def _hurry(self) -> bool:
        return self._stop.at_once or self._lease.lost is not None

    def _ended(self, trainer: Launcher, why: SlurmStop | None) -> Ending:
        """Ends its processes, within the grace or what Slurm leaves: for a step checkpoint, then a write."""
        # A trainer that did not resume, or lost the lease, must not overwrite the checkpoints that are there.
        grace_s = 0.0 if self._monitor.not_resumed or self._lease.lost else self._job.stop_grace_s
        write_s = why.left_s - self._job.stop_grace_s - _RECORD_S if why and why.left_s else 0.0
        step_s, rest_s = wait_for_step_s(grace_s, why, self._save_s()), (1 - _FOR_STEP) * grace_s
        if self._stop.requested:
            until_s = max(self._job.stop_grace_s, step_s + rest_s)
            self._shown.note(f"stopping; processes still there after {round(until_s, 1):g} s are killed")
        began_s = time.monotonic()
        if self._stop.requested and grace_s and not self._monitor.must_end:
            self._hook.save(
                self._lease,
                lambda: self._hurry() or not trainer.running() or time.monotonic() >= began_s + step_s,
                self._shown.note,
            )
        spent_s = time.monotonic() - began_s
        kin, left_s = self._processes.kin, max(grace_s - spent_s, rest_s)
        ending = self._keeper.end(kin, left_s, self._hurry, write_s - spent_s)
        self._processes.look(now=True)
        return ending

    def _save_s(self) -> float:
        """For a step checkpoint, as measured: a step and a write may just have begun."""
        seen, (found, _) = self._telemetry.newest, read_steps(self._job.stage_dir)
        write_s = found[0].manifest.stall_s + found[0].manifest.write_s if found else 0.0
        return 2 * ((seen.step_s if seen else 0.0) + write_s) if self._job.steps else 0.0

    def _with_stacks(self, hang: str) -> str:
        """The hang in a sentence, with the steps and the place of each process; their stacks are kept."""
        stacks = self._folder / "stacks"
        saved = save_stacks(self._processes.kin, stacks)
        standing = self._telemetry.standing(time.monotonic(), saved)
        found = "; ".join(filter(None, (standing, describe_stacks(saved))))
        hint = "" if self._job.hang_timeout_s else "; set hang_timeout_s for this stage if that is normal"
        return f"{hang}; {found}; stacks: {stacks}{hint}"


def wait_for_step_s(grace_s: float, why: SlurmStop | None, save_s: float) -> float:
    """How long a stop waits for a step checkpoint that takes `save_s` (pure): what Slurm leaves."""
    least_s = _FOR_STEP * grace_s
    if why and why.left_s:
        return min(max(least_s, why.left_s - grace_s - _RECORD_S), why.left_s - _LEAST_S)
    return least_s if why else max(least_s, min(save_s, _MOST_S))


def _note_survivors(ending: Ending, shown: Display, *, launcher_was_gone: bool) -> None:
    if launcher_was_gone and ending.ended:
        shown.note(f"the launcher had ended; {len(ending.ended)} processes that it left were ended")
    if ending.left:
        shown.note(f"these processes survived SIGKILL: {ending.stuck}")
    if ending.steps_left:
        shown.note(f"may still have processes on another node: {', '.join(ending.steps_left)}")
