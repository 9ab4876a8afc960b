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
from typing import Any, NamedTuple, Protocol

from trainrelay.errors import Fenced, Interrupted, UserError
from trainrelay.records import AttemptRecord, EndClass, EpochBases, ProbeResult, ResumePoint
from trainrelay.supervise import slurm_run
from trainrelay.supervise.attempts import NumberTaken, folder, next_number, open_attempt, write_attempt
from trainrelay.supervise.counting import Counting
from trainrelay.supervise.display import Display
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.keeping import Keeper
from trainrelay.supervise.launcher import Child, Launcher, Orphans
from trainrelay.supervise.outcome import counted, ended, judged
from trainrelay.supervise.process import Ending, start
from trainrelay.supervise.recover import settle
from trainrelay.supervise.resume import ResumeProof, resume_point
from trainrelay.supervise.roll import Roll
from trainrelay.supervise.slurm_run import why_stopped
from trainrelay.supervise.stop import StopRequest
from trainrelay.supervise.watch import Watch, follow
from trainrelay.supervise.watchdog import Hang, Watchdog, collect, described, with_stack_dumps
from trainrelay.system.alive import here, stat
from trainrelay.system.ports import free_port
from trainrelay.system.tail import Tail
from trainrelay.system.text import quoted
from trainrelay.trainers import Launch, Rung
from trainrelay.training.launch_id import LAUNCH_VARIABLE

_RECORD_S = 30.0  # of what Slurm leaves: for the end's record, and the requeue


class Guard(Protocol):
    """The right to write, as a lease gives it."""

    @property
    def owner(self) -> str:
        """Who has it: a request to stop names it."""
        ...

    @property
    def lost(self) -> str | None:
        """Why nothing may be written any more; None while it may."""
        ...

    def guard(self) -> None:
        """Call it before each write; raises Fenced."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an attempt works with: where notes go, whether to stop, whether it may write."""

    shown: Display
    stop: StopRequest
    lease: Guard


def attempt(
    job: StageJob, rung: Rung, around: Surroundings, probes: Sequence[ProbeResult] = ()
) -> AttemptRecord:
    """Runs one attempt on a rung, which `probes` led to; its record, `end` and `reason` filled in.

    Raises Refusal if a training of this stage may still run or would be lost, Interrupted if a stop was
    requested before the trainer was started, UserError if it could not be started. Call it from the main
    thread. When it returns or raises, no process of the attempt is left.
    """
    record = _opened(job, rung, around, probes)
    with recorded_whatever_happens(job, record, around) as kept:
        return _followed(job, record, _started(record, kept.roll), around, kept)


def adopt(job: StageJob, orphan: AttemptRecord, around: Surroundings) -> AttemptRecord:
    """Follows a trainer whose supervisor died to its end; nobody sees its exit status."""
    around.lease.guard()
    record = write_attempt(job.stage_dir, orphan.model_copy(update=_supervisor()))
    what = f"attempt {record.number} continues though its supervisor died"
    around.shown.note(f"{what}: following it; log: {record.log}")
    with recorded_whatever_happens(job, record, around) as kept:
        return _followed(job, record, Orphans(kept.roll, job.request.entry), around, kept)


def _opened(job: StageJob, rung: Rung, around: Surroundings, probes: Sequence[ProbeResult]) -> AttemptRecord:
    """The record of a new attempt, on disk, once nothing else can be training this stage."""
    shown = around.shown
    while True:
        number = next_number(job.stage_dir)
        settle(job, shown.note)
        point, skipped = resume_point(job)
        for sentence in skipped:
            # The command that fixes it is for starts that it stops; this one skips it.
            shown.note(f"not resumed from: {sentence.partition('; run:')[0]}; it is skipped")
        if around.stop.requested:
            raise Interrupted(f"{job.name}: stopped on request before the trainer was started")
        record = _record(job, rung, number, point, probes)
        around.lease.guard()
        try:
            open_attempt(job.stage_dir, record)
        except NumberTaken:
            continue
        shown.note(_beginning(record))
        return record


def _beginning(record: AttemptRecord) -> str:
    point = record.resumed_from
    # You may expect it to resume where the last one ended: say why it does not.
    scratch = "starts from the beginning" + (": there is no checkpoint yet" if record.number > 1 else "")
    where = f"resumes after epoch {point.epoch} from {point.path}" if point else scratch
    return f"attempt {record.number} ({record.backend}, {record.world_size} ranks) {where}; log: {record.log}"


def _supervisor() -> dict[str, Any]:
    pid, place = os.getpid(), here()
    return {"host": place.host, "place": place, "supervisor_pid": pid, "supervisor_ticks": stat(pid).ticks}


def _record(
    job: StageJob, rung: Rung, number: int, point: ResumePoint | None, probes: Sequence[ProbeResult]
) -> AttemptRecord:
    launch = _launch(job, rung, point)
    return AttemptRecord(
        number=number,
        tag=str(uuid.uuid4()),
        **_supervisor(),
        argv=list(launch.argv),
        env=dict(launch.env),
        cwd=launch.cwd,
        log=str(folder(job.stage_dir, number) / job.log_name),
        backend=rung.name,
        ladder=tuple(known.name for known in job.ladder),
        probes=tuple(probes),
        world_size=job.world_size,
        epochs=job.epochs,
        resumed_from=point,
        epoch_bases=job.work_dirs.bases,
        code=job.code,
        slurm=slurm_run.here(os.environ),
        launch=os.environ.get(LAUNCH_VARIABLE),
        started_s=time.time(),
    )


def _launch(job: StageJob, rung: Rung, point: ResumePoint | None) -> Launch:
    request = replace(
        job.request,
        rung=rung,
        master_port=free_port() if job.port is None else job.port,
        master_addr=socket.gethostname(),
        resume_from=point.path if point else None,
    )
    return job.trainer.launch(request, os.environ)


class NotStarted(UserError):
    """The trainer could not be started at all."""


class _RollAndKeeper(NamedTuple):
    """Of a running attempt: who belongs to it, and copies of what it overwrites."""

    roll: Roll
    keeper: Keeper


@contextlib.contextmanager
def recorded_whatever_happens(
    job: StageJob, record: AttemptRecord, around: Surroundings
) -> Iterator[_RollAndKeeper]:
    lease, keeper = around.lease, Keeper(job, around.shown.note, around.lease.guard)
    keeper.start()
    # Also for KeyboardInterrupt and SystemExit: a trainer must never outlive us unseen.
    roll = Roll(job.stage_dir, record, lease.guard)
    try:
        yield _RollAndKeeper(roll, keeper)
    except BaseException as error:
        roll.look(now=True)
        keeper.end(roll.kin, 0.0 if lease.lost else job.stop_grace_s)
        end: EndClass = "trainer-bug" if isinstance(error, NotStarted) else "lost"
        said = quoted(str(error) or type(error).__name__)
        reason = said if isinstance(error, NotStarted) else f"the supervisor failed: {said}"
        with contextlib.suppress(UserError, Fenced):
            lease.guard()
            write_attempt(job.stage_dir, ended(record, end, reason))
        raise
    finally:
        keeper.close()


def _followed(
    job: StageJob, record: AttemptRecord, trainer: Launcher, around: Surroundings, kept: _RollAndKeeper
) -> AttemptRecord:
    """Follow, end, judge and record one attempt."""
    stop, lease, shown, (roll, keeper) = around.stop, around.lease, around.shown, kept
    point, counting = record.resumed_from, Counting(record, learns=job.learns_base)
    known = record.epoch_bases.saved is not None
    proof = ResumeProof(point, by_epoch=job.trainer.resume_proof == "epoch", base_known=known)
    watch = Watch(job.trainer, proof, shown, Watchdog(job.hang_timeout_s), counting, job.work_dirs.current)

    def stopping() -> bool:
        nonlocal record
        if lease.lost is None and counting.bases != record.epoch_bases:
            record = _learned(job, record, counting.bases, lease)
        return stop.requested or lease.lost is not None

    with contextlib.closing(Tail(Path(record.log))) as tail:
        ended = follow(trainer, tail, watch, stopping)
        if stop.requested:
            shown.note(f"stopping; processes still there after {job.stop_grace_s:g} s are killed")
        hang = _described(job, record, roll, watch.hang) if watch.hang else None
        # A trainer that did not resume, or lost the lease, must not overwrite the checkpoints that are there.
        grace_s = 0.0 if watch.not_resumed or lease.lost else job.stop_grace_s
        roll.look(now=True)
        # Where a signal asked us to stop inside of a Slurm job: what Slurm has against the job.
        why = why_stopped(record.slurm) if record.slurm and stop.signals else None
        write_s = why.left_s - job.stop_grace_s - _RECORD_S if why else 0.0
        ending = keeper.end(roll.kin, grace_s, lambda: stop.at_once or lease.lost is not None, write_s)
        roll.look(now=True)
        watch.read(tail.remaining())
    _tell(ending, shown, launcher_was_gone=ended)
    counting.finish(watch.saves(), job.epochs if trainer.status() == 0 else None)
    if counting.doubt:
        shown.note(counting.doubt)
    closed = judged(
        job.counting(counting.bases),
        counted(record, counting.bases),
        watch,
        trainer.status(),
        stop_requested=stop.requested,
        stopped_by_slurm=why,
        hang=hang,
    )
    lease.guard()
    return write_attempt(job.stage_dir, closed)


def _learned(job: StageJob, record: AttemptRecord, bases: EpochBases, lease: Guard) -> AttemptRecord:
    """Written at once, for the case that nobody sees the end of this attempt."""
    lease.guard()
    with contextlib.suppress(UserError):
        write_attempt(job.stage_dir, counted(record, bases))
    return counted(record, bases)


def _described(job: StageJob, record: AttemptRecord, roll: Roll, hang: Hang) -> str:
    """The hang in a sentence, with where each process was; their stacks are kept."""
    stacks = folder(job.stage_dir, record.number) / "stacks"
    found = described(collect(roll.kin, stacks))
    hint = "" if job.hang_timeout_s else "; set hang_timeout_s for this stage if that is normal"
    return f"{hang.reason}; {found}; stacks: {stacks}{hint}"


def _started(record: AttemptRecord, roll: Roll) -> Child:
    try:
        env = with_stack_dumps({**os.environ, **record.env})
        return Child(start(record.argv, env, record.cwd, Path(record.log), record.tag), roll)
    except OSError as error:
        place = error.filename or record.argv[0]
        raise NotStarted(
            f"cannot start the trainer: {place}: {error.strerror or error};"
            " check the trainer's `interpreter` and `root` in config.yaml, or that path's permissions"
        ) from error


def _tell(ending: Ending, shown: Display, *, launcher_was_gone: bool) -> None:
    if launcher_was_gone and ending.ended:
        shown.note(f"the launcher had ended; {len(ending.ended)} processes that it left were ended")
    if ending.left:
        shown.note(f"these processes survived SIGKILL: {ending.stuck}")
    if ending.steps_left:
        shown.note(f"may still have processes on another node: {', '.join(ending.steps_left)}")
