"""The end of an attempt: what it left behind, judged and put into its record."""

from __future__ import annotations

import time

from trainrelay.checkpoint import inspect
from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord, CheckpointFacts, EndClass
from trainrelay.supervise.classify import Evidence, classify
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.launcher import UNSEEN
from trainrelay.supervise.slurm_run import Why
from trainrelay.supervise.watch import Watch

_UNSEEN_FAILURE = 1  # what Python gives an exception: says nothing beyond the log


def judged(
    job: StageJob,
    record: AttemptRecord,
    watch: Watch,
    status: int | None,
    *,
    stop_requested: bool,
    stopped_by_slurm: Why | None = None,
    hang: str | None,
) -> AttemptRecord:
    """The record with its end: what was seen, the last epoch's checkpoint, and why it ended.

    Of a trainer whose exit status nobody saw, the last epoch's checkpoint decides whether it went well.
    """
    final, problem = _final_checkpoint(job) if status in (0, UNSEEN) else (None, None)
    status = (0 if final else _UNSEEN_FAILURE) if status is UNSEEN else status
    missing_proof = watch.proof.missing() if status == 0 and not stop_requested else None
    end, reason = classify(
        Evidence(
            exit_status=status,
            epochs=job.epochs,
            lines=watch.recent.lines(),
            stop_requested=stop_requested,
            stopped_by_slurm=stopped_by_slurm,
            last_step=watch.last_step,
            final_checkpoint=final,
            final_problem=problem,
            not_resumed=watch.not_resumed or missing_proof,
            hang=hang,
            diverged=None if status == 0 else watch.diverged,
            local_ranks=job.request.nproc_per_node if job.request.nodes == 1 else None,
        )
    )
    return ended(_with_progress(record, watch), end, reason, exit_status=status, final_checkpoint=final)


def _final_checkpoint(job: StageJob) -> tuple[CheckpointFacts | None, str | None]:
    """The last epoch's checkpoint, or what is wrong with it; (None, None) where there is none."""
    found = job.checkpoints()
    path = next((path for epoch, path in found if epoch == job.epochs), None)
    if path is None:
        return None, None
    try:
        facts = inspect(path, first=found[-1][1])
    except UserError as error:
        return None, str(error)
    if facts.epoch != job.epochs:
        return None, f"{path} was saved after epoch {facts.epoch}"
    return facts, None


def _with_progress(record: AttemptRecord, watch: Watch) -> AttemptRecord:
    step = watch.last_step
    if step is None:
        return record
    update = {
        "last_epoch": step.epoch,
        "last_iteration": step.iteration,
        "iters_per_epoch": step.iters_per_epoch,
    }
    return record.model_copy(update=update)


def ended(
    record: AttemptRecord,
    end: EndClass,
    reason: str,
    exit_status: int | None = None,
    final_checkpoint: CheckpointFacts | None = None,
) -> AttemptRecord:
    """The record, closed at this moment."""
    update = {
        "end": end,
        "reason": reason,
        "exit_status": exit_status,
        "final_checkpoint": final_checkpoint,
        "ended_s": time.time(),
    }
    return record.model_copy(update=update)
