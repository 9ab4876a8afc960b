"""Legs: a job as an array of which one task runs at a time; each continues where the one before was stopped.

Slurm lets the tasks that wait gather priority meanwhile, which a requeued job does not (pure).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from snakemake_executor_plugin_submitit.status import weight

if TYPE_CHECKING:
    from snakemake_executor_plugin_submitit.slurm import QueueRow

LOG = "%A_0_log.out"  # one for all, as of a job that is requeued
# A shell line: submitit looks for what it runs under the number of its task.
LINK = 'id=$SLURM_ARRAY_JOB_ID; ln -sfn "${id}_submitted.pkl" "${id}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"'
# A shell line: what one leg cannot, the next could not.
END_THE_REST = '[ -z "$SLURM_ARRAY_JOB_ID" ] || scancel --quiet --state=PENDING "$SLURM_ARRAY_JOB_ID"'


def array_of(legs: int) -> str:
    """The value of sbatch's --array; empty for a plain job."""
    return f"1-{legs}%1" if legs > 1 else ""


def as_jobs(rows: Iterable[QueueRow]) -> dict[str, QueueRow]:
    """An array as one job under its own number, which runs, waits or has ended as a leg of it does."""
    lightest_first = sorted(rows, key=lambda row: weight(row.state, bool(row.nodes)))
    named = (replace(row, job_id=row.array_id or row.job_id) for row in lightest_first)
    return {row.job_id: row for row in named}
