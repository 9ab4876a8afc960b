"""The run of a Slurm job that this supervisor is inside: which one it is, and why Slurm ends it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from trainrelay.records import EndClass, SlurmRun

# Under a preemption with a grace of 20 s the record of the end must still be written.
_ASK_S = 5.0
# The warning comes the profile's signal delay before the limit, and up to a minute earlier.
_NEAR_S = 300
_FIELD = re.compile(r"\b(JobState|Restarts|RunTime|TimeLimit|PreemptTime)=(\S+)")
_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


class SlurmStop(NamedTuple):
    """A stop that Slurm asked for, as the class of an attempt's end, and in words."""

    end: EndClass
    text: str
    left_s: int = 0  # until Slurm ends the job itself, as far as known


def here(environment: Mapping[str, str]) -> SlurmRun | None:
    """The run that a process with this environment belongs to; None outside of Slurm."""
    job, restarts = environment.get("SLURM_JOB_ID", ""), environment.get("SLURM_RESTART_COUNT", "0")
    if not job.isascii() or not job.isdecimal():
        return None
    nodes = environment.get("SLURM_JOB_NODELIST") or environment.get("SLURMD_NODENAME", "")
    return SlurmRun(job_id=job, restarts=int(restarts) if restarts.isdecimal() else 0, nodes=nodes[:200])


def why_stopped(run: SlurmRun) -> SlurmStop | None:
    """What Slurm says at this moment; None if it does not end the job, or does not answer."""
    argv = ["scontrol", "--oneliner", "show", "job", run.job_id]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return read(done.stdout.decode("utf-8", errors="replace"), run.restarts)


def read(line: str, restarts: int = 0) -> SlurmStop | None:
    """Why Slurm ends the run of a job, from one line of `scontrol show job` (pure)."""
    # What the user wrote (a comment, a command) comes after these fields and must not be taken for them.
    found: dict[str, str] = {}
    for name, text in _FIELD.findall(line):
        found.setdefault(name, text)
    if re.match(r"\d", found.get("PreemptTime", "")):
        return SlurmStop("preempted", "its job was preempted")
    if found.get("JobState") == "CANCELLED":
        return SlurmStop("interrupted", "its job was cancelled")
    if found.get("Restarts", "").isdecimal() and int(found["Restarts"]) > restarts:
        return SlurmStop("interrupted", "its job was requeued")
    left_s = _left_s(found)
    if left_s is None or left_s > _NEAR_S:
        return None
    text = f"{max(left_s, 0)} s before its job's time limit ({found['TimeLimit']})"
    return SlurmStop("time-limit", text, left_s)


def _left_s(found: Mapping[str, str]) -> int | None:
    limit_s, run_s = _seconds(found.get("TimeLimit", "")), _seconds(found.get("RunTime", ""))
    return None if limit_s is None or run_s is None else limit_s - run_s


def _seconds(text: str) -> int | None:
    """[days-][hours:]minutes:seconds; None for UNLIMITED and the like."""
    if (found := _TIME.fullmatch(text)) is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
