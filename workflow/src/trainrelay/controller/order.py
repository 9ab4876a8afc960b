"""The options of sbatch and the script of the controller's job (pure)."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass

WARNING_S = 60
"""Seconds before its time limit at which the job is warned; Slurm may warn a minute earlier than asked."""


@dataclass(frozen=True, slots=True)
class Order:
    """One controller job. `again` is the command line of `trainrelay control`, without the program."""

    workdir: str
    python: str
    log_folder: str  # relative to workdir, or absolute
    again: tuple[str, ...]
    time_min: int
    mem_gb: float
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()  # shell lines of site.yaml
    after: str | None = None  # a job that must have ended before


def comment_of(workdir: str) -> str:
    """By what a live controller of a folder is found again."""
    return (
        f"trainrelay-controller/{hashlib.sha256(workdir.encode(errors='surrogateescape')).hexdigest()[:32]}"
    )


def sbatch_options(order: Order) -> list[str]:
    """Its options for sbatch; the script is the input."""
    chosen = {
        "partition": order.partition,
        "account": order.account,
        "qos": order.qos,
        "dependency": f"afterany:{order.after}" if order.after else None,
    }
    return [
        *("--job-name=trainrelay", f"--comment={comment_of(order.workdir)}"),
        *("--nodes=1", "--ntasks=1", "--cpus-per-task=1", f"--mem={round(order.mem_gb * 1000)}M"),
        # To the batch script alone, which becomes our process; requeued under its id, it appends to its log.
        *(f"--time={order.time_min}", f"--signal=B:USR2@{WARNING_S}", "--requeue", "--open-mode=append"),
        *("--export=ALL", f"--chdir={order.workdir}", f"--output={_log_pattern(order.log_folder)}"),
        *(f"--{name}={value}" for name, value in chosen.items() if value),
    ]


def log_name(job_id: str) -> str:
    """The file name of a controller job's log."""
    return f"controller-{job_id}.log"


def _log_pattern(folder: str) -> str:
    # sbatch reads % as the start of a pattern.
    return f"{folder.replace('%', '%%')}/{log_name('%j')}"


def job_script(order: Order) -> str:
    """What Slurm keeps and runs at each start."""
    command = shlex.join([order.python, "-m", "trainrelay", *order.again])
    # A warning that comes before Python listens must not end the job.
    return "\n".join(["#!/bin/bash", "trap '' USR2", *order.setup, f"exec {command}", ""])
