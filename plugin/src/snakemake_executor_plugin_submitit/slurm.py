"""Slurm's commands, asked in fixed formats, and what they answer."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import category

from snakemake_executor_plugin_submitit.environment import for_asking, scrubbed
from snakemake_executor_plugin_submitit.errors import (
    LimitError,
    RefusedError,
    SubmititError,
    UnclearError,
    UnreachableError,
)
from snakemake_executor_plugin_submitit.status import weight

_DEADLINE_S = 90.0
_LONGEST_CHARS = 300
_SEPARATOR = "\x1f"  # paths and comments may hold anything else
_QUEUE_COLUMNS = (
    *("JobID", "State", "Reason", "NodeList", "Comment", "StdOut", "Command", "ArrayJobID"),
    *("WorkDir", "Name", "RestartCnt", "PreemptTime"),
)
_QUEUE_FORMAT = ",".join(f"{column}:{_SEPARATOR}" for column in _QUEUE_COLUMNS)

SLURMCTLD_REFUSES = "Batch job submission failed"
# How sbatch refuses. Any other error may be of a wrapper around it, which may have submitted.
_SBATCH_REFUSES = re.compile(
    rf"^sbatch: (error|fatal): |^allocation failure: |{SLURMCTLD_REFUSES}|^Try .sbatch --help", re.MULTILINE
)
_SUBMITTED = re.compile(r"^Submitted batch job ([0-9]+)(?: on cluster \S+)?\s*$", re.MULTILINE)

# The limits that pass when other jobs end, by Slurm's names; those on a job's size or time never do.
_JOB_LIMIT = re.compile(r"\b(Assoc|QOS|Max)\w*SubmitJob\w*|\bMaxSubmitJob\w*")

# How Slurm's commands say that they could not ask, as opposed to: asked, and the answer is no.
_UNREACHABLE = re.compile(
    "unable to contact slurm controller|(connection|socket) timed out|connection refused|slurm_persist_conn"
    "|zero bytes were transmitted|slurm backup controller in standby|temporarily unable to accept job"
    "|transport endpoint is not connected|communication connection failure|no route to host|slurmdbd"
    "|network is unreachable|unexpected message received",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class QueueRow:
    """One job as squeue lists it. `output`, `script`: paths; a pattern in them may be filled in or not."""

    job_id: str
    state: str
    reason: str = ""
    nodes: str = ""
    comment: str = ""
    output: str = ""
    script: str = ""
    array_id: str = ""  # its own id where it is no array's task
    workdir: str = ""  # the folder that it was submitted from
    name: str = ""
    restarts: str = "0"  # how many times it was requeued until now
    preempted_at: str = "N/A"
    followed: bool = field(default=False, kw_only=True)  # by another task of its array; `standing` tells


@dataclass(frozen=True)
class Snapshot:
    """What one look at the jobs found."""

    rows: Mapping[str, QueueRow] | None  # this user's, an array as one; None: no answer
    accounting: Mapping[str, str] = field(default_factory=dict)  # states of jobs that are in no row
    trouble: str = ""  # why there was no answer

    def state(self, job_id: str) -> str | None:
        """Empty for a job that is in no row; None if there was no answer."""
        if self.rows is None:
            return None
        return self.rows[job_id].state if job_id in self.rows else ""


def parse_queue(output: str) -> dict[str, QueueRow]:
    """By job id. Lines of another shape are left out."""
    rows = (line.split(_SEPARATOR)[:-1] for line in output.split("\n"))
    return {row[0]: QueueRow(*row) for row in rows if len(row) == len(_QUEUE_COLUMNS) and row[0].isdigit()}


def as_jobs(rows: Iterable[QueueRow]) -> dict[str, QueueRow]:
    """An array as one job under its own number, which runs, waits or has ended as a leg of it does."""
    lightest_first = sorted(rows, key=lambda row: weight(row.state, bool(row.nodes)))
    named = (replace(row, job_id=row.array_id or row.job_id) for row in lightest_first)
    return {row.job_id: row for row in named}


def parse_accounting(output: str) -> dict[str, str]:
    """States by job id, an array's by its own; `CANCELLED by 1000` is CANCELLED."""
    rows = (line.strip().split("|") for line in output.splitlines())
    states = [(row[0], (row[1].split() or [""])[0]) for row in rows if len(row) >= 2]
    lightest_first = sorted(states, key=lambda pair: weight(pair[1], "[" not in pair[0]))
    return {task.split("_")[0]: state for task, state in lightest_first}


def queue(of: str = "--me", *options: str, deadline_s: float = _DEADLINE_S) -> dict[str, QueueRow]:
    """Every job of this user, by id, the ones that ended a while ago among them. UnreachableError.

    `of`: the option of squeue that says which jobs instead.
    """
    command = ["squeue", of, *options, "--noheader", "--states=all", f"--Format={_QUEUE_FORMAT}"]
    return parse_queue(ask(command, deadline_s=deadline_s))


def accounting(job_ids: Iterable[str], deadline_s: float = _DEADLINE_S) -> dict[str, str]:
    """The states that the accounting database knows. UnreachableError, also if there is none."""
    if not (ids := ",".join(sorted(job_ids))):
        return {}
    command = ["sacct", "-X", "--noheader", "--parsable2", "--format=JobID,State", "--jobs", ids]
    return parse_accounting(ask(command, deadline_s=deadline_s))


def standing(job_id: str, deadline_s: float = _DEADLINE_S, array_id: str = "") -> QueueRow | None:
    """How Slurm sees a job, which may be a task of an array; None: it is not listed. UnreachableError."""
    # --array: without it a task that was requeued is in one line with those that never ran.
    rows = queue(f"--jobs={array_id or job_id}", "--array", deadline_s=deadline_s)
    own = rows.pop(job_id, None)
    return own and replace(own, followed=any(row.state == "PENDING" for row in rows.values()))


def submitted_job(output: str) -> str:
    """The id in what sbatch printed; UnclearError if no line, or several, name a job."""
    ids = set(_SUBMITTED.findall(output))
    if len(ids) != 1:
        said = "; ".join(filter(None, (_plain("sbatch", line) for line in output.splitlines())))
        raise UnclearError(f"sbatch named no job: {said[:_LONGEST_CHARS] or 'it printed nothing'}")
    return str(ids.pop())


def cancel(ids: Iterable[str], *options: str, deadline_s: float = _DEADLINE_S) -> None:
    """scancel of jobs or steps; UnreachableError.

    It fails for one that has ended and acts on the others: what it has ended, squeue says.
    """
    if given := sorted(ids):
        with suppress(RefusedError):
            ask(["scancel", "--quiet", *options, *given], deadline_s=deadline_s)


def put_comment(job_id: str, comment: str) -> None:
    """RefusedError, UnreachableError."""
    ask(["scontrol", "update", f"JobId={job_id}", f"Comment={comment}"])


def setting(name: str, deadline_s: float = _DEADLINE_S) -> str:
    """A word of slurm.conf as slurmctld shows it; empty if it does not. RefusedError; UnreachableError."""
    shown = ask(["scontrol", "show", "config"], deadline_s=deadline_s)
    return next(iter(re.findall(rf"^{name}\s*=\s*(\S+)", shown, re.MULTILINE)), "")


@functools.cache
def message_timeout_s() -> int:
    """How long Slurm's commands wait for an answer; Slurm's default if it is not shown. UnreachableError."""
    with suppress(RefusedError):
        return int(setting("MessageTimeout") or 10)
    return 10


def unconfigured() -> str:
    """Why this machine does not know which Slurm to ask; empty: it does, and that may be away for a while."""
    conf = os.environ.get("SLURM_CONF", "")
    if conf and not Path(conf).exists():  # Slurm's commands wait a minute for it
        return f"there is no {conf}, which SLURM_CONF names,"
    try:
        ask(["scontrol", "show", "hostnames", "any"], deadline_s=20.0)  # no daemon is asked
    except SubmititError as error:
        # Without a slurm.conf slurmctld may be asked for one.
        if "Could not establish a config" in str(error) and "remote config" not in str(error):
            return "no Slurm is configured (slurm.conf, SLURM_CONF or configless)"
    return ""


def requeue(job_id: str) -> None:
    """RefusedError if Slurm does not let this job be requeued; UnreachableError."""
    ask(["scontrol", "requeue", job_id])


def exclude(job_id: str, nodes: str) -> None:
    """Keeps a job that waits from these nodes, too; none: nothing. RefusedError; UnreachableError."""
    if nodes:
        shown = ask(["scontrol", "--oneliner", "show", "job", job_id])
        before = re.findall(r"\sExcNodeList=([^\s()]+)", shown)
        ask(["scontrol", "update", f"JobId={job_id}", f"ExcNodeList={','.join([*before, nodes])}"])


def ask(
    command: Sequence[str],
    *,
    deadline_s: float = _DEADLINE_S,
    outside: bool = False,
    errors_too: bool = False,
) -> str:
    """What a command of Slurm prints, with its standard error behind it if asked for.

    `outside`: as if no job were around this process. RefusedError; UnreachableError, also at the deadline.
    """
    env = scrubbed(os.environ) if outside else for_asking(os.environ)
    try:
        asked = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline_s, check=False, env=env,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"{command[0]} gave no answer within {deadline_s:g} s") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL or a surrogate in a word
        raise UnreachableError(f"{command[0]} cannot be started: {error}") from None
    said, errors = (told.decode(errors="replace") for told in (asked.stdout, asked.stderr))
    if asked.returncode < 0:
        raise UnreachableError(f"{command[0]} was killed by signal {-asked.returncode}")
    if asked.returncode:
        raise failure(command[0], errors or said)
    return said + errors if errors_too else said


def failure(program: str, stderr: str) -> RefusedError | LimitError | UnreachableError:
    """What a failed command of Slurm meant; its last line says it, the lines before why."""
    lines = [line for line in (_plain(program, line) for line in stderr.splitlines()) if line]
    said = "; ".join(reversed(lines[-3:]))[:_LONGEST_CHARS] or "no reason given"
    refuses = _SBATCH_REFUSES.search(stderr) if program == "sbatch" else program in {"scancel", "scontrol"}
    if refuses and (limit := _JOB_LIMIT.search(said)):
        return LimitError(f"Slurm takes no more jobs for now ({limit[0]})")
    if _UNREACHABLE.search(said):
        return UnreachableError(f"{program} failed: {said}")
    return RefusedError(said) if refuses else UnclearError(f"{program} failed: {said}")


def _plain(program: str, line: str) -> str:
    told = printable(line).strip()
    for prefix in (f"{program}: ", "error: ", "fatal: ", "allocation failure: "):
        told = told.removeprefix(prefix)
    return told


def printable(text: str) -> str:
    """For a terminal, whatever a file or a job is called; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" or category(c) == "Zs" else " " for c in text)
