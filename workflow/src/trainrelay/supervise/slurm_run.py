"""The run of a Slurm job that this supervisor is inside: which one it is, and why Slurm ends it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from trainrelay.errors import SlurmError
from trainrelay.records import EndClass, SlurmRun
from trainrelay.slurm import own_run
from trainrelay.slurm.ask import seconds, shown_job

# Under a preemption with a grace of 20 s the record of the end must still be written.
_ASK_S = 5.0
# Slurm warns up to a minute earlier than asked; the rest passes until it is asked.
_EARLIER_S = 180


class SlurmStop(NamedTuple):
    """A stop that Slurm asked for, as the class of an attempt's end, and in words."""

    end: EndClass
    text: str
    left_s: int = 0  # until Slurm ends the job itself, as far as known


def here(environment: Mapping[str, str]) -> SlurmRun | None:
    """The run that a process with this environment belongs to; None outside of Slurm."""
    own = own_run(environment)
    return SlurmRun(job_id=own.job_id, restarts=own.restarts, nodes=own.nodes) if own.job_id else None


def why_stopped(run: SlurmRun | None, warn_s: int) -> SlurmStop | None:
    """What Slurm says at this moment; None if it does not end the job. No answer: it may.

    `warn_s`: how long before its limit the job asked to be warned, or more: a short one asks for less, and
    what limit it asked for may be in Snakemake's profile.
    """
    try:
        return read(shown_job(run.job_id, _ASK_S), warn_s, run.restarts) if run else None
    except SlurmError as error:
        return SlurmStop("interrupted", f"in a Slurm job, and Slurm did not say why ({error})")


def _until_end_s(shown: Mapping[str, str]) -> int:
    """By Slurm's own clock; a preemption with a grace time moves the end forward. 0: not known."""
    try:
        began, ends = (datetime.fromisoformat(shown[key]) for key in ("StartTime", "EndTime"))
    except (KeyError, ValueError):
        return 0
    return max(int((ends - began).total_seconds()) - (seconds(shown.get("RunTime", "")) or 0), 0)


def read(shown: Mapping[str, str], warn_s: int, restarts: int = 0) -> SlurmStop | None:
    """Why Slurm ends the run of a job, from what `scontrol show job` says of it (pure)."""
    if shown.get("PreemptTime", "")[:1].isdigit():
        return SlurmStop("preempted", "its job was preempted", _until_end_s(shown))
    if shown.get("JobState") == "CANCELLED":
        return SlurmStop("interrupted", "its job was cancelled")
    if shown.get("Restarts", "").isdecimal() and int(shown["Restarts"]) > restarts:
        return SlurmStop("interrupted", "its job was requeued")
    limit_s, run_s = seconds(shown.get("TimeLimit", "")), seconds(shown.get("RunTime", ""))
    if limit_s is not None and run_s is not None:
        left_s = max(limit_s - run_s, 0)  # Slurm looks at limits every half minute
        if left_s <= warn_s + _EARLIER_S:
            text = f"{left_s} s before its job's time limit ({shown['TimeLimit']})"
            return SlurmStop("time-limit", text, left_s)
    ends = shown.get("JobState", "RUNNING") not in ("RUNNING", "SUSPENDED")  # COMPLETING after a scancel
    return SlurmStop("interrupted", "Slurm ends its job") if ends else None
