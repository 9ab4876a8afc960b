"""The end of an attempt: what it left behind, judged and put into its record."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord, CheckpointFacts, EndClass, EpochBases
from trainrelay.supervise.attempt_folders import write_attempt
from trainrelay.supervise.classify import Evidence, classify, finished_end
from trainrelay.supervise.epoch_counting import EpochCounting
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.monitor import TrainerMonitor
from trainrelay.supervise.process_list import UNSEEN
from trainrelay.supervise.slurm_run import SlurmStop
from trainrelay.system.tail import Tail
from trainrelay.trainers import Follower, StepSeen
from trainrelay.training.attempts import attempt_log, list_attempts
from trainrelay.training.finished import final_candidate, finished

_LOG_END_BYTES = 2_000_000  # more than an epoch of most trainers
_UNSEEN_FAILURE = 1  # what Python gives an exception: says nothing beyond the log


def judge_end(
    job: StageJob,
    record: AttemptRecord,
    monitor: TrainerMonitor,
    status: int | None,
    *,
    stop_requested: bool,
    stopped_by_slurm: SlurmStop | None = None,
    hang: str | None,
) -> AttemptRecord:
    """The record with its end: what was seen, the last epoch's checkpoint, and why it ended.

    Of a trainer whose exit status nobody saw, the last epoch's checkpoint decides whether it went well.
    """
    step, hook = monitor.last_step, monitor.hook
    record = _with_progress(record, monitor)
    final, problem = final_checkpoint(job, status, record)
    status = (0 if final else _UNSEEN_FAILURE) if status is UNSEEN else status
    end, reason = classify(
        Evidence(
            exit_status=status,
            asked=job.asked,
            unit=job.trainer.unit,
            lines=monitor.recent.lines(),
            stop_requested=stop_requested,
            stopped_by_slurm=stopped_by_slurm,
            last_step=step,
            final_checkpoint=final,
            final_problem=problem,
            not_resumed=monitor.not_resumed,
            # Nobody prints what is not trained.
            unproved=monitor.proof.missing() if record.resumed_at < job.asked else None,
            hang=hang,
            diverged=None if status == 0 else hook.stopped() or monitor.diverged,
            local_ranks=job.request.nproc_per_node if job.request.nodes == 1 else None,
        )
    )
    over = record.model_copy(update={"exit_status": status, "ended_s": time.time()})
    saved = max((epoch for epoch, _ in job.checkpoints(over)), default=None)
    return close_record(
        record,
        end,
        reason,
        **{f"saved_{job.trainer.unit}": saved},
        exit_status=status,
        final_checkpoint=final,
        hook=hook.absent() if step else None,
        not_resumed=hook.not_resumed(trained=step is not None),
        unsaved=hook.unsaved() if job.steps else None,
        initial=hook.look_at_initial() or record.initial,
    )


def _with_progress(record: AttemptRecord, monitor: TrainerMonitor) -> AttemptRecord:
    """The record with how far its trainer was, and how fast."""
    if (step := monitor.last_step) is None:
        return record
    update = {"last_epoch": step.epoch, "last_iteration": step.iteration}
    pace = {"iters_per_epoch": step.iters_per_epoch, "s_per_iter": monitor.s_per_iteration}
    return record.model_copy(update={**update, **pace})


def final_checkpoint(
    job: StageJob, status: int | None, *newest: AttemptRecord
) -> tuple[CheckpointFacts | None, str | None]:
    """The checkpoint that finishes the training, or what is wrong with it; (None, None): there is none."""
    found = job.checkpoints(*newest)
    path = final_candidate(found, job.asked)
    if path is None:
        return None, None
    try:
        facts = job.trainer.inspect(path, job.work_dirs.epoch_base, found[-1][1])
    except UserError as error:
        return None, str(error)
    unit, done = job.trainer.unit, facts.done(job.trainer.unit)
    if not finished(facts, job.asked, status, unit):
        return None, f"{path} was saved after {unit} {done}"
    problem = done and job.two_networks(done, *newest)
    return (None, problem) if problem else (facts, None)


def finished_unseen(job: StageJob) -> AttemptRecord | None:
    """The newest attempt as done, where it finished the training and nobody saw it; all have ended."""
    newest = next(reversed(list_attempts(job.stage_dir)), None)
    # Of one that exited 0, the config may say only now how its checkpoints are read.
    unclear = newest and (newest.exit_status is None or (job.learns_base and _tells(newest)))
    if newest and unclear and job.trainer.epoch_bases is None:
        newest = write_attempt(job.stage_dir, _read_again(job, newest))
        job = job.with_bases(newest.epoch_bases) if newest.exit_status == 0 else job
    facts, _ = final_checkpoint(job, UNSEEN)
    if newest is None or facts is None or not facts.finite:
        return None
    how = f"the attempt ended: {newest.end} ({newest.reason})"
    end, reason = finished_end(facts, job.asked, how, job.trainer.unit)
    found = {"final_checkpoint": facts, "epoch_bases": job.work_dirs.bases}
    return newest.model_copy(update={"end": end, "reason": reason, **found})


def _tells(record: AttemptRecord) -> bool:
    """Whether its end can tell how it counted its checkpoints, and nothing has yet."""
    return record.exit_status == 0 and record.epoch_bases.saved is None


def _read_again(job: StageJob, record: AttemptRecord) -> AttemptRecord:
    """The record of an attempt with what its log and its files tell now: those that are unfinished, how it
    counts."""
    counting = EpochCounting(record, learns=_tells(record))
    with closing(Tail(attempt_log(job.stage_dir, record), last_bytes=_LOG_END_BYTES)) as tail:
        for seen in map(Follower(job.trainer).see, tail.remaining()):
            if isinstance(seen, StepSeen):
                counting.step(seen)
    folders = (*job.work_dirs.all, *job.work_dirs.copies)
    files = (path for folder in folders for path in job.trainer.saved(folder))
    epochs = record.epochs if _tells(record) else None
    counting.finish({path: job.trainer.glance(path) for path in files}, epochs)
    bases = counting.bases if epochs else record.epoch_bases
    return with_bases(record, bases, within=counting.within)


def with_bases(record: AttemptRecord, bases: EpochBases, **more: Any) -> AttemptRecord:
    """The record with what is known by now, the epoch that it resumed from counted alike."""
    shift, point = (bases.saved or 0) - (record.epoch_bases.saved or 0), record.resumed_from
    if point and point.epoch is not None and not point.within:
        point = point.model_copy(update={"epoch": point.epoch + shift})
    return record.model_copy(update={"epoch_bases": bases, "resumed_from": point, **more})


def close_record(record: AttemptRecord, end: EndClass, reason: str, **found: Any) -> AttemptRecord:
    """The record, closed at this moment, with what else was found."""
    return record.model_copy(update={"end": end, "reason": reason, "ended_s": time.time(), **found})
