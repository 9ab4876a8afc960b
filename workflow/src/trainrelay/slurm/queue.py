"""This user's jobs that wait in Slurm's queue, for who looks on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.identity import slug
from snakemake_executor_plugin_submitit.waits import help_for
from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import ask, installed

CONTROLLER = "trainrelay"  # what the job of `trainrelay submit` is called
_EVERY_S = 15.0
_DEADLINE_S = 4.0  # you look at the screen meanwhile
_FORMAT = "%A|%r|%j|%Z"  # the folder last: it may hold anything


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that has not started, and what Slurm says it waits for."""

    job_id: str
    reason: str
    name: str
    workdir: str

    @property
    def why(self) -> str:
        """The reason, and what helps where it does not pass by itself."""
        return f"{self.reason}: {what}" if (what := help_for(self.reason, self.job_id)) else self.reason


def _waiting_jobs() -> list[Waiting]:
    if not installed():
        return []
    argv = ["squeue", "--me", "--noheader", "--states=PENDING", f"--format={_FORMAT}"]
    return read_waiting(ask(argv, deadline_s=_DEADLINE_S))


@dataclass(slots=True)
class Queue:
    """Asks every 15 s at most; no jobs where there is no Slurm, or where it does not answer."""

    clock: Callable[[], float] = time.monotonic
    question: Callable[[], list[Waiting]] = _waiting_jobs
    _asked_s: float = float("-inf")
    _known: list[Waiting] = field(default_factory=list)

    def waiting(self) -> list[Waiting]:
        """As they were known at the last answer."""
        if self.clock() - self._asked_s >= _EVERY_S:
            self._known = []
            with suppress(SlurmError):
                self._known = self.question()
            self._asked_s = self.clock()
        return self._known


def read_waiting(said: str) -> list[Waiting]:
    """From squeue's lines; left out are those of another shape, and the next legs of a job that runs."""
    rows = [line.strip().split("|", 3) for line in said.splitlines()]
    jobs = [Waiting(*row) for row in rows if len(row) == 4 and row[0].isdigit()]
    return [job for job in jobs if job.reason != "JobArrayTaskLimit"]


def job_name(run: str, stage: str) -> str:
    """What the submitit executor calls the job of a training."""
    return slug(f"train_{stage}[run={run}]")
