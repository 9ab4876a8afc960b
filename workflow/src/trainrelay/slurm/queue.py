"""This user's jobs that wait in Slurm's queue, for who looks on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.identity import slug
from snakemake_executor_plugin_submitit.slurm import QueueRow
from snakemake_executor_plugin_submitit.waits import help_for
from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import installed, queue

CONTROLLER = "trainrelay"  # what the job of `trainrelay submit` is called
_EVERY_S = 15.0
_DEADLINE_S = 4.0  # you look at the screen meanwhile


def why(job: QueueRow) -> str:
    """The reason that it waits for, and what helps where it does not pass by itself."""
    return f"{job.reason}: {what}" if (what := help_for(job.reason, job.job_id)) else job.reason


def _waiting_jobs() -> list[QueueRow]:
    rows = queue(deadline_s=_DEADLINE_S).values() if installed() else ()
    # The next legs of a job that runs are no waiting jobs.
    return [row for row in rows if row.state == "PENDING" and row.reason != "JobArrayTaskLimit"]


@dataclass(slots=True)
class Queue:
    """Asks every 15 s at most; no jobs where there is no Slurm, or where it does not answer."""

    clock: Callable[[], float] = time.monotonic
    question: Callable[[], list[QueueRow]] = _waiting_jobs
    _asked_s: float = float("-inf")
    _known: list[QueueRow] = field(default_factory=list)

    def waiting(self) -> list[QueueRow]:
        """As they were known at the last answer."""
        if self.clock() - self._asked_s >= _EVERY_S:
            self._known = []
            with suppress(SlurmError):
                self._known = self.question()
            self._asked_s = self.clock()
        return self._known


def job_name(run: str, stage: str) -> str:
    """What the submitit executor calls the job of a training."""
    return slug(f"train_{stage}[run={run}]")
