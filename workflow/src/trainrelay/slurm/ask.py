"""Slurm's commands as the executor plugin asks them, and what they print; their failures as SlurmError."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.errors import LimitError, SubmititError, UnreachableError
from snakemake_executor_plugin_submitit.slurm import QueueRow, printable
from snakemake_executor_plugin_submitit.status import ENDED
from trainrelay.errors import NoAnswer, SlurmError

_KEY = re.compile(r"(?:^|\s)([A-Za-z][\w/:]*)=")
_TIME = re.compile(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,2}))?(?::(\d{1,2}))?")
_START = re.compile(
    r"\bto start at (?P<at>\S+)"
    r"(?:.*? on (?:nodes )?(?P<nodes>[^\s;]+))?"
    r"(?:.*? in partition (?P<partition>[^\s;]+))?"
)
_NOW = timedelta(minutes=2)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except LimitError as error:
        raise SlurmError(f"{error}: run the same command again when one of your jobs has ended") from None
    except UnreachableError as error:
        raise NoAnswer(str(error)) from None
    except SubmititError as error:
        raise SlurmError(str(error)) from None


ask = _told()(slurm.ask)
queue = _told()(slurm.queue)
accounting = _told()(slurm.accounting)
own_job = _told()(slurm.standing)
cancel = _told()(slurm.cancel)
requeue = _told()(slurm.requeue)
setting = _told()(slurm.setting)


def installed() -> bool:
    """Whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None


def ping() -> str | None:
    """The first slurmctld that is up, as scontrol names it; None: all are down. SlurmError."""
    try:
        said = ask(["scontrol", "ping"], deadline_s=30.0)
    except SlurmError as error:
        if "RESTORE SLURMCTLD" in str(error):  # it ends 1 then, and shouts
            return None
        raise
    return next((line.strip() for line in said.splitlines() if " is UP" in line), None)


@_told()
def sbatch(flags: list[str], script: str) -> str:
    """The new job's id, of a script's path; no part of a job that we may be in. SlurmError says why not."""
    try:
        return slurm.submitted_job(slurm.ask(["sbatch", *flags, script], outside=True))
    except UnreachableError as error:
        raise UnreachableError(f"{error}; a job may appear anyway: look with squeue --me first") from None


def live_jobs() -> list[QueueRow]:
    """This user's jobs that have not ended, the oldest first; SlurmError."""
    live = [row for row in queue().values() if row.state not in ENDED]
    return sorted(live, key=lambda row: int(row.job_id))


def states_of(job_id: str, deadline_s: float) -> set[str]:
    """The states of a job's parts, from squeue, else from sacct, which remembers longer; each has a deadline.

    Empty where neither knows the job or answers.
    """
    with suppress(SlurmError):  # squeue fails for a job that it has forgotten
        if rows := queue(f"--jobs={job_id}", deadline_s=deadline_s):
            return {row.state for row in rows.values()}
    with suppress(SlurmError):
        return set(accounting([job_id], deadline_s).values()) - {""}
    return set()


def node_lost(job_id: str, nodes: str, deadline_s: float) -> bool:
    """Whether a run of a job on these nodes ended with one of them, as the accounting says; False without."""
    command = ["sacct", "-X", "--duplicates", "--noheader", "--parsable2", "--format=State,NodeList"]
    with suppress(SlurmError):
        return f"NODE_FAIL|{nodes}" in ask([*command, "--jobs", job_id], deadline_s=deadline_s).splitlines()
    return False


def shown_job(job_id: str, deadline_s: float) -> dict[str, str]:
    """What `scontrol show job` says of a job, by its names; SlurmError, also for one that is not known."""
    said = ask(["scontrol", "--oneliner", "show", "job", job_id], deadline_s=deadline_s)
    # The id of an array's last task shows all of them.
    return next((record for record in records(said) if record.get("JobId") == job_id), {})


@dataclass(frozen=True, slots=True)
class Start:
    """`at` is the cluster's local time; None, "": it was not said."""

    at: datetime | None
    nodes: str = ""
    partition: str = ""

    def words(self, now: datetime) -> str:
        """In words, e.g. "now, on node1 (partition gpu)"."""
        where = f", on {self.nodes}" if self.nodes else ""
        return f"{self._when(now)}{where}" + (f" (partition {self.partition})" if self.partition else "")

    def _when(self, now: datetime) -> str:
        if self.at is None:
            return "at a time that Slurm does not tell"
        if self.at - now < _NOW:
            return "now"
        wait_min = round((self.at - now).total_seconds() / 60)
        days, hours = wait_min // 1440, wait_min // 60 % 24
        long = f"{days} d {hours} h" if days else f"{hours} h {wait_min % 60} min"
        return f"{self.at:%Y-%m-%d %H:%M} (in {long if wait_min >= 60 else f'{wait_min} min'})"


def could_start(flags: Sequence[str]) -> Start:
    """When a job with these flags of sbatch could start; SlurmError with its reason where never."""
    try:
        return start_of(ask(["sbatch", "--test-only", *flags, "--wrap=true"], outside=True, errors_too=True))
    except SlurmError as error:
        if "no more jobs for now" in str(error):  # a limit that passes says nothing of the request
            return Start(None)
        raise


def start_of(said: str) -> Start:
    """Of `sbatch: Job 8 to start at 2026-01-31T10:00:00 using 40 processors on nodes n1 in partition gpu`."""
    found = next((match for line in printable(said).splitlines() if (match := _START.search(line))), None)
    if found is None:
        return Start(None)
    where = ["" if word in (None, "(null)") else word for word in found.group("nodes", "partition")]
    try:
        return Start(datetime.fromisoformat(found["at"]).replace(tzinfo=None), *where)
    except ValueError:
        return Start(None, *where)


def records(text: str) -> list[dict[str, str]]:
    """The key=value words of each line; of a duplicate key the first, since free text comes last."""
    lines = (_KEY.split(line) for line in text.splitlines() if line.strip())
    pairs = (list(zip(words[1::2], words[2::2], strict=True)) for words in lines)
    return [{key: value.strip() for key, value in reversed(line)} for line in pairs]


def seconds(text: str) -> int | None:
    """A time such as 7-00:00:00, 30:00 or 45 (minutes); None for UNLIMITED, and for what is no time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    days, first, second, third = (int(part) if part else None for part in found.groups())
    if days is not None or third is not None:  # days-hours[:minutes[:seconds]], hours:minutes:seconds
        return (((days or 0) * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)
    return (first or 0) * 60 + (second or 0)  # minutes[:seconds]
