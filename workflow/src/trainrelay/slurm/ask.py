"""Slurm's commands as the executor plugin asks them; their failures as SlurmError."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.errors import LimitError, SubmititError
from trainrelay.errors import SlurmError


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except LimitError as error:
        raise SlurmError(f"{error}: run the same command again when one of your jobs has ended") from None
    except SubmititError as error:
        raise SlurmError(str(error)) from None


ask = _told()(slurm.ask)
queue = _told()(slurm.queue)
accounting = _told()(slurm.accounting)
own_job = _told()(slurm.standing)
cancel = _told()(slurm.cancel)
requeue = _told()(slurm.requeue)


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


def try_accounting() -> None:
    """SlurmError if ended jobs are not remembered."""
    ask(["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID", "--starttime=now"])


def process_tracking(deadline_s: float) -> str:
    """Slurm's ProctrackType; empty if it does not say. SlurmError."""
    words = (line.split() for line in ask(["scontrol", "show", "config"], deadline_s=deadline_s).splitlines())
    return next((line[2] for line in words if len(line) == 3 and line[0] == "ProctrackType"), "")


def sbatch(flags: list[str], script: str) -> str:
    """The new job's id, of a script's path; no part of a job that we may be in. SlurmError says why not."""
    said = ask(["sbatch", "--parsable", *flags, script], outside=True)
    job_id = said.split("\n")[0].split(";")[0].strip()
    if not job_id.isdigit():
        raise SlurmError(f"sbatch gave no job number: {said.strip()[:200]}")
    return job_id
