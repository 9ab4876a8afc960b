"""Slurm's commands, asked in fixed formats, and what they answer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from snakemake_executor_plugin_submitit.environment import for_asking, own_run, scrubbed
from snakemake_executor_plugin_submitit.errors import RefusedError, UnreachableError

_DEADLINE_S = 90.0
_LONGEST_CHARS = 300
_QUEUE_FORMAT = "%A|%T|%r|%N|%k"  # the comment last: it alone may hold anything

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
    """One job as squeue lists it."""

    job_id: str
    state: str
    reason: str
    nodes: str
    comment: str


@dataclass(frozen=True)
class OwnStatus:
    """A job as it sees itself from inside. `restarts`: how many times it was requeued until now."""

    state: str
    restarts: int
    reason: str = ""


def parse_queue(output: str) -> dict[str, QueueRow]:
    """By job id. Lines of another shape are left out."""
    rows = (line.strip().split("|", 4) for line in output.splitlines())
    return {row[0]: QueueRow(*row) for row in rows if len(row) == 5 and row[0].isdigit()}


def parse_accounting(output: str) -> dict[str, str]:
    """States by job id; `CANCELLED by 1000` is CANCELLED."""
    rows = (line.strip().split("|") for line in output.splitlines())
    return {row[0]: (row[1].split() or [""])[0] for row in rows if len(row) >= 2}


def parse_standing(output: str) -> OwnStatus | None:
    """None for a job that squeue does not list."""
    words = output.split(maxsplit=2)
    if len(words) < 2 or not words[1].isdigit():
        return None
    return OwnStatus(words[0], int(words[1]), words[2].strip() if len(words) > 2 else "")


def queue(of: str = "--me", deadline_s: float = _DEADLINE_S) -> dict[str, QueueRow]:
    """Every job of this user, by id, the ones that ended a while ago among them. UnreachableError.

    `of`: the option of squeue that says which jobs instead.
    """
    command = ["squeue", of, "--noheader", "--states=all", f"--format={_QUEUE_FORMAT}"]
    return parse_queue(ask(command, deadline_s=deadline_s))


def accounting(job_ids: Iterable[str], deadline_s: float = _DEADLINE_S) -> dict[str, str]:
    """The states that the accounting database knows. UnreachableError, also if there is none."""
    ids = ",".join(sorted(job_ids))
    command = ["sacct", "-X", "--noheader", "--parsable2", "--format=JobIDRaw,State", "--jobs", ids]
    return parse_accounting(ask(command, deadline_s=deadline_s))


def standing(job_id: str, deadline_s: float = _DEADLINE_S) -> OwnStatus | None:
    """How Slurm sees a job. UnreachableError."""
    columns = "--Format=State:.30,RestartCnt:.12,Reason:.40"
    command = ["squeue", "--noheader", "--states=all", columns, "--jobs", job_id]
    return parse_standing(ask(command, deadline_s=deadline_s))


def cancel(ids: Iterable[str], *options: str, deadline_s: float = _DEADLINE_S) -> None:
    """scancel of jobs or steps, without an error for those that have ended already. UnreachableError."""
    if given := sorted(ids):
        ask(["scancel", "--quiet", *options, *given], deadline_s=deadline_s)


def requeue(job_id: str) -> None:
    """RefusedError if Slurm does not let this job be requeued; UnreachableError."""
    ask(["scontrol", "requeue", job_id])


def ask(
    command: Sequence[str],
    *,
    text: str = "",
    deadline_s: float = _DEADLINE_S,
    outside: bool = False,
    errors_too: bool = False,
) -> str:
    """What a command of Slurm prints, with its standard error behind it if asked for; `text` is its input.

    `outside`: as if no job were around this process. RefusedError; UnreachableError, also at the deadline.
    """
    env = scrubbed(os.environ) if outside else for_asking(os.environ)
    try:
        asked = subprocess.run(
            list(command), input=text.encode(), capture_output=True, timeout=deadline_s, check=False, env=env
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"{command[0]} gave no answer within {deadline_s:g} s") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL or a surrogate in a word
        raise UnreachableError(f"{command[0]} cannot be started: {error}") from None
    said, errors = (told.decode(errors="replace") for told in (asked.stdout, asked.stderr))
    if asked.returncode:
        raise failure(command[0], errors or said)
    return said + errors if errors_too else said


def failure(program: str, stderr: str) -> RefusedError | UnreachableError:
    """What a failed command of Slurm meant; its last line says it, the lines before why."""
    lines = [line for line in (_plain(program, line) for line in stderr.splitlines()) if line]
    said = "; ".join(reversed(lines[-3:]))[:_LONGEST_CHARS] or "no reason given"
    if program not in {"scontrol", "sbatch"}:
        return UnreachableError(f"{program} failed: {said}")
    known = any(sign in said.lower() for sign in _UNREACHABLE)
    return UnreachableError(f"{program}: {said}") if known else RefusedError(said)


def _plain(program: str, line: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in line).strip()
    for prefix in (f"{program}: ", "error: ", "fatal: ", "allocation failure: "):
        printable = printable.removeprefix(prefix)
    return printable


def inherited(environment: Mapping[str, str]) -> set[str]:
    """Names of what a surrounding allocation set: what is started here must not get its tasks or memory."""
    return environment.keys() - scrubbed(environment) if own_run(environment).job_id else set()


@contextmanager
def outside_of_allocation() -> Iterator[None]:
    """What is started in this block is not part of the job that this process may be part of."""
    taken = {key: os.environ.pop(key) for key in inherited(os.environ)}
    try:
        yield
    finally:
        os.environ.update(taken)
