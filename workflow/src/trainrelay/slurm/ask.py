"""Slurm's commands as the executor plugin asks them; their failures as SlurmError."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.errors import LimitError, SubmititError
from snakemake_executor_plugin_submitit.slurm import QueueRow
from snakemake_executor_plugin_submitit.status import ENDED
from trainrelay.errors import SlurmError
from trainrelay.slurm.reading import records


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
    return slurm.submitted_job(slurm.ask(["sbatch", *flags, script], outside=True))


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
