"""One attempt of a stage's training, from what the last one left to the record of its end."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
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
from trainrelay.supervise.epoch_counting import EpochCounting
from trainrelay.supervise.hangs import HangDetector, describe_stacks, save_stacks, with_stack_dumps
from trainrelay.supervise.hook import Hook
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.lease import Lease
from trainrelay.supervise.monitor import TrainerMonitor, follow_to_end
from trainrelay.supervise.process import Ending, NotStarted, start, start_explained
from trainrelay.supervise.process_list import Child, Launcher, Orphans, ProcessList
from trainrelay.supervise.recover import close_open_attempts
from trainrelay.supervise.resume import ResumeProof, starting_points
from trainrelay.supervise.slurm_run import why_stopped
from trainrelay.supervise.stop import StopRequest
from trainrelay.supervise.telemetry import TelemetryReader
from trainrelay.system.alive import here, stat
from trainrelay.system.ports import free_port
from trainrelay.system.tail import Tail
from trainrelay.text import quoted
from trainrelay.trainers import Launch, Rung
from trainrelay.training.launch_id import LAUNCH_VARIABLE

_FOR_STEP = 2 / 3  # of the grace; a trainer that cannot answer has the rest to act on SIGTERM
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
    with recorded_whatever_happens(job, record, around) as (processes, keeper):
        trainer = _start(job, record, launch, processes, around.lease)
        return _follow(job, record, trainer, around, (processes, keeper))


def adopt(job: StageJob, orphan: AttemptRecord, around: Surroundings) -> AttemptRecord:
    """Follows a trainer whose supervisor died to its end; nobody sees its exit status."""
    around.lease.guard()
    record = write_attempt(job.stage_dir, orphan.model_copy(update=_supervisor()))
    what = f"attempt {record.number} continues though its supervisor died"
    around.shown.note(f"{what}: following it; log: {record.log}")
    _hook(job, record).adopt(around.lease)
    with recorded_whatever_happens(job, record, around) as (processes, keeper):
        orphans = Orphans(processes, job.request.entry)
        return _follow(job, record, orphans, around, (processes, keeper))


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
        try:
            open_attempt(job.stage_dir, record)
        except NumberTaken:
            continue
        shown.note(_start_sentence(job, record))
        return record, launch


def _start_sentence(job: StageJob, record: AttemptRecord) -> str:
    point, own = record.resumed_from, job.trainer.config_initial_checkpoint(job.request.trainer_config)
    initial = job.request.load_from or own
    scratch = f"starts at epoch 1 from {initial}" if initial else "starts from the beginning"
    # You may expect it to resume where the last one ended: say why it does not.
    scratch += ": there is no checkpoint yet" if record.number > 1 else ""
    where = f"resumes after epoch {point.epoch} from {point.path}" if point else scratch
    if step := record.resumed_step:
        where = f"resumes {step} from {step.path}"
    return f"attempt {record.number} ({record.backend}, {record.world_size} ranks) {where}; log: {record.log}"


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
        argv=list(launch.argv),
        env=dict(launch.env),
        cwd=launch.cwd,
        log=str(attempt_folder(job.stage_dir, number) / job.log_name),
        metrics_from=_metrics_bytes(job),
        backend=rung.name,
        ladder=tuple(known.name for known in job.ladder),
        world_size=job.world_size,
        epochs=job.epochs,
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


@contextlib.contextmanager
def recorded_whatever_happens(
    job: StageJob, record: AttemptRecord, around: Surroundings
) -> Iterator[tuple[ProcessList, CheckpointKeeper]]:
    """Lists its processes, copies what it overwrites; whatever is raised, it is ended, its record closed."""
    lease, keeper = around.lease, CheckpointKeeper(job, around.shown.note, around.lease.guard, record.number)
    keeper.start()
    # Also for KeyboardInterrupt and SystemExit: a trainer must never outlive us unseen.
    processes = ProcessList(job.stage_dir, record, lease.guard)
    try:
        yield processes, keeper
    except BaseException as error:
        processes.look(now=True)
        keeper.end(processes.kin, 0.0 if lease.lost else job.stop_grace_s)
        end: EndClass = "trainer-bug" if isinstance(error, NotStarted) else "lost"
        said = quoted(str(error) or type(error).__name__)
        reason = said if isinstance(error, NotStarted) else f"the supervisor failed: {said}"
        with contextlib.suppress(UserError, Fenced):
            lease.guard()
            write_attempt(job.stage_dir, close_record(record, end, reason))
        raise
    finally:
        keeper.close()


def _follow(
    job: StageJob,
    record: AttemptRecord,
    trainer: Launcher,
    around: Surroundings,
    kept: tuple[ProcessList, CheckpointKeeper],
) -> AttemptRecord:
    """Follow, end, judge and record one attempt."""
    stop, lease, shown, (processes, keeper) = around.stop, around.lease, around.shown, kept
    point, counting = record.resumed_from, EpochCounting(record, learns=job.learns_base)
    known = record.epoch_bases.saved is not None
    reached = max((one.last_epoch or 0 for one in job.dirs().attempts), default=0)
    proof = ResumeProof(
        point, by_epoch=job.trainer.resume_proof == "epoch", base_known=known, reached=reached
    )
    folder, hook = attempt_folder(job.stage_dir, record.number), _hook(job, record)
    telemetry = TelemetryReader(folder, hook, lease.guard)
    hangs, work_dir = HangDetector(job.hang_timeout_s), job.work_dirs.current
    monitor = TrainerMonitor(job.trainer, proof, shown, hangs, counting, work_dir, hook, telemetry, record)

    def stopping() -> bool:
        nonlocal record
        learned = with_bases(record, counting.bases, within=counting.within)
        if lease.lost is None and learned != record:
            lease.guard()
            record = learned
            with contextlib.suppress(UserError):  # at once, for the case that nobody sees the end
                write_attempt(job.stage_dir, record)
        return stop.requested or lease.lost is not None

    def hurry() -> bool:
        return stop.at_once or lease.lost is not None

    with contextlib.closing(Tail(Path(record.log))) as tail:
        launcher_was_gone = follow_to_end(trainer, tail, monitor, stopping)
        if stop.requested:
            shown.note(f"stopping; processes still there after {job.stop_grace_s:g} s are killed")
        hang = _with_stacks(monitor.hang, job, folder, processes, telemetry) if monitor.hang else None
        # A trainer that did not resume, or lost the lease, must not overwrite the checkpoints that are there.
        grace_s = 0.0 if monitor.not_resumed or lease.lost else job.stop_grace_s
        processes.look(now=True)
        # Where a signal asked us to stop inside of a Slurm job: what Slurm has against the job.
        why = why_stopped(record.slurm) if record.slurm and stop.signals else None
        near = why is not None and why.end == "time-limit"
        write_s = why.left_s - job.stop_grace_s - _RECORD_S if why and near else 0.0
        began_s = time.monotonic()
        if stop.requested and grace_s and not monitor.must_end:
            most_s = max(_FOR_STEP * grace_s, write_s)
            most_s = min(most_s, why.left_s - _LEAST_S) if why and why.left_s else most_s
            over = lambda: hurry() or not trainer.running() or time.monotonic() >= began_s + most_s  # noqa: E731
            hook.save(lease, over, shown.note)
        spent_s = time.monotonic() - began_s
        ending = keeper.end(processes.kin, max(grace_s - spent_s, 0.0), hurry, write_s - spent_s)
        processes.look(now=True)
        monitor.read(tail.remaining())
        telemetry.look(float("inf"))  # at the last reports
    _note_survivors(ending, shown, launcher_was_gone=launcher_was_gone)
    well = trainer.status() == 0 and not stop.requested
    counting.finish(monitor.glances(), job.epochs if well else None)
    if counting.doubt:
        shown.note(counting.doubt)
    closed = judge_end(
        job.with_bases(counting.bases),
        with_bases(record, counting.bases, within=counting.within),
        monitor,
        trainer.status(),
        stop_requested=stop.requested,
        stopped_by_slurm=why,
        hang=hang,
    )
    lease.guard()
    return write_attempt(job.stage_dir, closed)


def _with_stacks(
    hang: str, job: StageJob, folder: Path, processes: ProcessList, telemetry: TelemetryReader
) -> str:
    """The hang in a sentence, with the steps and the place of each process; their stacks are kept."""
    stacks = folder / "stacks"
    saved = save_stacks(processes.kin, stacks)
    found = "; ".join(filter(None, (telemetry.standing(time.monotonic(), saved), describe_stacks(saved))))
    hint = "" if job.hang_timeout_s else "; set hang_timeout_s for this stage if that is normal"
    return f"{hang}; {found}; stacks: {stacks}{hint}"


def _hook(job: StageJob, record: AttemptRecord) -> Hook:
    folder, nodes = attempt_folder(job.stage_dir, record.number), job.request.nodes
    return Hook(folder, record.world_size, nodes, record.resumed_step)


def _start(
    job: StageJob, record: AttemptRecord, launch: Launch, processes: ProcessList, lease: Lease
) -> Child:
    env = with_stack_dumps({**os.environ, **launch.env})  # the record's lacks the secrets
    env = _hook(job, record).switched(env, on=job.hook, saving=job.steps, lease=lease)
    with start_explained("start the trainer", record.argv[0]):
        return Child(start(record.argv, env, record.cwd, Path(record.log), record.tag), processes)


def _note_survivors(ending: Ending, shown: Display, *, launcher_was_gone: bool) -> None:
    if launcher_was_gone and ending.ended:
        shown.note(f"the launcher had ended; {len(ending.ended)} processes that it left were ended")
    if ending.left:
        shown.note(f"these processes survived SIGKILL: {ending.stuck}")
    if ending.steps_left:
        shown.note(f"may still have processes on another node: {', '.join(ending.steps_left)}")
