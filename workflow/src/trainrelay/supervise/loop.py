"""One attempt of a stage's training, from what the last one left to the record of its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
from rich.console import Console

from trainrelay.command import Launch
from trainrelay.errors import Interrupted, UserError
from trainrelay.records import AttemptRecord, EndClass, ResumePoint
from trainrelay.supervise.attempts import Taken, folder, next_number, open_attempt, write_attempt
from trainrelay.supervise.display import Display, display
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.outcome import ended, judged
from trainrelay.supervise.ports import free_port
from trainrelay.supervise.process import Ending, end_all, start
from trainrelay.supervise.recover import settle
from trainrelay.supervise.resume import ResumeProof, resume_point
from trainrelay.supervise.stop import StopRequest, stop_requests
from trainrelay.supervise.tail import Tail
from trainrelay.supervise.text import quoted
from trainrelay.supervise.watch import Watch, follow

_REAP_S = 5.0  # for the exit status of a launcher that has ended


def train(job: StageJob, console: Console) -> AttemptRecord:
    """Runs one attempt and returns its record, `end` and `reason` filled in; progress goes to `console`.

    Raises Refusal where a training of this stage may still run or would be lost, Interrupted where we were
    asked to stop before the trainer was started, UserError where it could not be started. Call it from the
    main thread. When it returns or raises, no process of the attempt is left.
    """
    shown = display(console, job.name, job.epochs, time.monotonic)
    with stop_requests() as stop, contextlib.closing(shown):
        record = _opened(job, shown, stop)
        with _recorded_whatever_happens(job, record):
            return _run(job, record, shown, stop)


def _opened(job: StageJob, shown: Display, stop: StopRequest) -> AttemptRecord:
    """The record of a new attempt, on disk, once nothing else can be training this stage."""
    while True:
        number = next_number(job.stage_dir)
        settle(job, shown.note)
        point, skipped = resume_point(job)
        for sentence in skipped:
            shown.note(f"not resumed from: {sentence}")
        if stop.wanted:
            raise Interrupted(f"{job.name}: stopped on request before the trainer was started")
        record = _record(job, number, point)
        try:
            open_attempt(job.stage_dir, record)
        except Taken:
            continue
        shown.note(_beginning(record))
        return record


def _beginning(record: AttemptRecord) -> str:
    point = record.resumed_from
    where = f"resumes after epoch {point.epoch} from {point.path}" if point else "starts from the beginning"
    return f"attempt {record.number} ({record.backend}, {record.world_size} ranks) {where}; log: {record.log}"


def _record(job: StageJob, number: int, point: ResumePoint | None) -> AttemptRecord:
    launch = _launch(job, point)
    return AttemptRecord(
        number=number,
        tag=str(uuid.uuid4()),
        host=socket.gethostname(),
        supervisor_pid=os.getpid(),
        supervisor_start_s=psutil.Process().create_time(),
        argv=list(launch.argv),
        env=dict(launch.env),
        cwd=launch.cwd,
        log=str(folder(job.stage_dir, number) / job.log_name),
        backend=job.backend,
        world_size=job.world_size,
        epochs=job.epochs,
        resumed_from=point,
        code=job.code,
        started_s=time.time(),
    )


def _launch(job: StageJob, point: ResumePoint | None) -> Launch:
    port = free_port() if job.port is None else job.port
    request = replace(job.request, master_port=port, resume_from=point.path if point else None)
    return job.trainer.launch(request, os.environ)


class NotStarted(UserError):
    """The trainer could not be started at all."""


@contextlib.contextmanager
def _recorded_whatever_happens(job: StageJob, record: AttemptRecord) -> Iterator[None]:
    # Also for KeyboardInterrupt and SystemExit: a trainer must never outlive us unseen.
    try:
        yield
    except BaseException as error:
        end_all(record.tag, job.stop_grace_s)
        end: EndClass = "trainer-bug" if isinstance(error, NotStarted) else "lost"
        said = quoted(str(error) or type(error).__name__)
        reason = said if isinstance(error, NotStarted) else f"the supervisor failed: {said}"
        with contextlib.suppress(UserError):
            write_attempt(job.stage_dir, ended(record, end, reason))
        raise


def _run(job: StageJob, record: AttemptRecord, shown: Display, stop: StopRequest) -> AttemptRecord:
    """Start, follow, end, judge and record one attempt."""
    launcher = _started(record)
    proof = ResumeProof(record.resumed_from, by_epoch=job.trainer.resume_proof == "epoch")
    watch = Watch(job.trainer, proof, shown)
    with contextlib.closing(Tail(Path(record.log))) as tail:
        status = follow(launcher, tail, watch, lambda: stop.wanted)
        if stop.wanted:
            shown.note(f"stopping; processes still there after {job.stop_grace_s:g} s are killed")
        # What did not resume must not write over the checkpoints of what it was to resume.
        grace_s = 0.0 if watch.not_resumed else job.stop_grace_s
        ending = end_all(record.tag, grace_s, hurry=lambda: stop.at_once)
        watch.read(tail.remaining())
    _tell(ending, shown, launcher_was_gone=status is not None)
    status = _exit_status(launcher) if status is None else status
    return write_attempt(job.stage_dir, judged(job, record, watch, status, stop_requested=stop.wanted))


def _started(record: AttemptRecord) -> subprocess.Popen[bytes]:
    try:
        return start(record.argv, record.env, record.cwd, Path(record.log), record.tag)
    except OSError as error:
        place = error.filename or record.argv[0]
        raise NotStarted(
            f"cannot start the trainer: {place}: {error.strerror or error};"
            f" look at the trainer's `interpreter` and `root` in config.yaml"
        ) from error


def _exit_status(launcher: subprocess.Popen[bytes]) -> int:
    try:
        return launcher.wait(timeout=_REAP_S)
    except subprocess.TimeoutExpired:  # stuck inside the kernel
        return -signal.SIGKILL


def _tell(ending: Ending, shown: Display, *, launcher_was_gone: bool) -> None:
    if launcher_was_gone and ending.ended:
        shown.note(f"the launcher had ended; {len(ending.ended)} processes that it left were ended")
    if ending.left:
        shown.note(f"these processes do not end even by SIGKILL: {ending.stuck}")
