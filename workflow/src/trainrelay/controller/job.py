"""The options of sbatch and the script of the controller's job, and how it is found again (pure)."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from trainrelay.slurm import QueueRow
from trainrelay.slurm.queue import CONTROLLER

WARNING_S = 60
"""Seconds before its time limit at which the job is warned; Slurm may warn a minute earlier than asked."""


@dataclass(frozen=True, slots=True)
class ControllerJob:
    """`command` is the command line of `trainrelay control`, without the program."""

    workdir: str
    python: str
    log_folder: str  # relative to workdir, or absolute
    command: tuple[str, ...]
    time_min: int
    mem_gb: float
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()  # shell lines of site.yaml
    after: str | None = None  # a job that must have ended before


def script_in(workdir: str) -> str:
    """The file that is submitted."""
    return f"{workdir}/.snakemake/trainrelay/controller.sh"


def comment_of(workdir: str) -> str:
    """The comment of a folder's controllers."""
    digest = hashlib.sha256(workdir.encode(errors="surrogateescape")).hexdigest()
    return f"trainrelay-controller/{digest[:32]}"


def of_folder(workdir: str, jobs: Iterable[QueueRow]) -> list[QueueRow]:
    """Those of a folder among these jobs; by their script where a site has rewritten the comments."""
    return [job for job in jobs if job.comment == comment_of(workdir) or job.script == script_in(workdir)]


def sbatch_options(job: ControllerJob) -> list[str]:
    """Its options for sbatch, and the path of its script."""
    chosen = {
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "dependency": f"afterany:{job.after}" if job.after else None,
    }
    return [
        *(f"--job-name={CONTROLLER}", f"--comment={comment_of(job.workdir)}"),
        *("--nodes=1", "--ntasks=1", "--cpus-per-task=1", f"--mem={round(job.mem_gb * 1000)}M"),
        # To the batch script alone, which becomes our process; requeued under its id, it appends to its log.
        *(f"--time={job.time_min}", f"--signal=B:USR2@{WARNING_S}", "--requeue", "--open-mode=append"),
        *("--export=ALL", f"--chdir={job.workdir}"),
        # sbatch reads % as the start of a pattern.
        f"--output={job.log_folder.replace('%', '%%')}/{log_name('%j')}",
        *(f"--{name}={value}" for name, value in chosen.items() if value),
        script_in(job.workdir),
    ]


def log_name(job_id: str) -> str:
    """The file name of a controller job's log."""
    return f"controller-{job_id}.log"


def job_script(job: ControllerJob) -> str:
    """What Slurm keeps and runs at each start."""
    command = shlex.join([job.python, "-m", "trainrelay", *job.command])
    # A warning that comes before Python listens must not end the job.
    return "\n".join(["#!/bin/bash", "trap '' USR2", *job.setup, f"exec {command}", ""])
