"""Slurm's commands, asked in fixed formats, and what they answer."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from snakemake_executor_plugin_submitit.errors import LimitError, RefusedError, UnreachableError

_TIMEOUT_S = 90
_SEPARATOR = "\x1f"  # paths and comments may hold anything else
_QUEUE_COLUMNS = ("JobID", "State", "Reason", "NodeList", "Comment", "StdOut", "Command")
_QUEUE_FORMAT = ",".join(f"{column}:{_SEPARATOR}" for column in _QUEUE_COLUMNS)

# The limits that pass when other jobs end, by Slurm's names; those on a job's size or time never do.
_JOB_LIMIT = re.compile(r"\b(Assoc|QOS|Max)\w*SubmitJob\w*|\bMaxSubmitJob\w*")

# How Slurm's commands say that they could not ask, as opposed to: asked, and the answer is no.
_UNREACHABLE = (
    "unable to contact slurm controller",
    "connection refused",
    "connection timed out",
    "socket timed out",
    "zero bytes were transmitted",
    "slurm_persist_conn",
    "slurm backup controller in standby",
    "temporarily unable to accept job",
    "transport endpoint is not connected",
    "communication connection failure",
    "slurmdbd",
    "no route to host",
    "network is unreachable",
    "unexpected message received",
)


@dataclass(frozen=True)
class QueueRow:
    """One job as squeue lists it. `output`, `script`: paths; a pattern in them may be filled in or not."""

    job_id: str
    state: str
    reason: str
    nodes: str
    comment: str
    output: str
    script: str


@dataclass(frozen=True)
class OwnStatus:
    """A job as it sees itself from inside. `restarts`: how many times it was requeued until now."""

    state: str
    restarts: int


def parse_queue(output: str) -> dict[str, QueueRow]:
    """By job id. Lines of another shape are left out."""
    rows = (line.split(_SEPARATOR)[:-1] for line in output.split("\n"))
    return {row[0]: QueueRow(*row) for row in rows if len(row) == len(_QUEUE_COLUMNS) and row[0].isdigit()}


def parse_accounting(output: str) -> dict[str, str]:
    """States by job id; `CANCELLED by 1000` is CANCELLED."""
    rows = (line.strip().split("|") for line in output.splitlines())
    return {row[0]: (row[1].split() or [""])[0] for row in rows if len(row) >= 2}


def parse_standing(output: str) -> OwnStatus | None:
    """None for a job that squeue does not list."""
    words = output.split()
    if len(words) < 2 or not words[1].isdigit():
        return None
    return OwnStatus(words[0], int(words[1]))


def queue() -> dict[str, QueueRow]:
    """Every job of this user, by id, the ones that ended a while ago among them. UnreachableError."""
    return parse_queue(_ask(["squeue", "--me", "--noheader", "--states=all", f"--Format={_QUEUE_FORMAT}"]))


def accounting(job_ids: Iterable[str]) -> dict[str, str]:
    """The states that the accounting database knows. UnreachableError, also if there is none."""
    ids = ",".join(sorted(job_ids))
    columns = "--format=JobIDRaw,State"
    return parse_accounting(_ask(["sacct", "-X", "--noheader", "--parsable2", columns, "--jobs", ids]))


def standing(job_id: str) -> OwnStatus | None:
    """How Slurm sees a job. UnreachableError."""
    columns = "--Format=State:.30,RestartCnt:.12"
    command = ["squeue", "--noheader", "--states=all", columns, "--jobs", job_id]
    return parse_standing(_ask(command))


def cancel(job_ids: Iterable[str], *options: str) -> None:
    """scancel, without an error for jobs that have ended already. UnreachableError."""
    ids = sorted(job_ids)
    if ids:
        _ask(["scancel", "--quiet", *options, *ids])


def put_comment(job_id: str, comment: str) -> None:
    """RefusedError, UnreachableError."""
    _ask(["scontrol", "update", f"JobId={job_id}", f"Comment={comment}"])


@functools.cache
def message_timeout_s() -> int:
    """How long Slurm's commands wait for an answer; Slurm's default if it is not shown. UnreachableError."""
    try:
        shown = re.search(r"^MessageTimeout\s*=\s*(\d+)", _ask(["scontrol", "show", "config"]), re.MULTILINE)
    except RefusedError:
        shown = None
    return int(shown[1]) if shown else 10


def requeue(job_id: str) -> None:
    """RefusedError if Slurm does not let this job be requeued; UnreachableError."""
    _ask(["scontrol", "requeue", job_id])


def _ask(command: list[str]) -> str:
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False,
            env=_without_defaults(os.environ), stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreachableError(f"{command[0]} did not answer: {error}") from None
    if asked.returncode:
        raise failure(command[0], asked.stderr)
    return asked.stdout


def failure(program: str, stderr: str) -> RefusedError | LimitError | UnreachableError:
    """What a failed command of Slurm meant; its last line says it, the lines before why."""
    lines = [_plain(program, line) for line in stderr.splitlines() if line.strip()]
    said = "; ".join(reversed(lines[-3:])) or "no reason given"
    if program not in {"scontrol", "sbatch"}:
        return UnreachableError(f"{program} failed: {said}")
    if limit := _JOB_LIMIT.search(said):
        return LimitError(limit[0])
    known = any(sign in said.lower() for sign in _UNREACHABLE)
    return UnreachableError(f"{program}: {said}") if known else RefusedError(said)


def _plain(program: str, line: str) -> str:
    return line.strip().removeprefix(f"{program}: ").removeprefix("error: ")


def _without_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """A user's SQUEUE_PARTITION or SACCT_FORMAT would hide jobs or change columns."""
    return {key: value for key, value in environment.items() if not key.startswith(("SQUEUE_", "SACCT_"))}


def inherited(environment: Mapping[str, str]) -> set[str]:
    """Names of what a surrounding allocation set: a job submitted there must not get its tasks or memory.

    Outside of an allocation SBATCH_ACCOUNT and the like are a user's own defaults and stay.
    """
    if "SLURM_JOB_ID" not in environment:
        return set()
    ours = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
    return {key for key in environment if key.startswith(ours)} - {"SLURM_CONF"}


@contextmanager
def outside_of_allocation() -> Iterator[None]:
    """What is started in this block is not part of the job that this process may be part of."""
    taken = {key: os.environ.pop(key) for key in inherited(os.environ)}
    try:
        yield
    finally:
        os.environ.update(taken)
