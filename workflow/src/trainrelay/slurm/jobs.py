"""Single jobs: all of this user's that live, any by its number."""

from __future__ import annotations

from contextlib import suppress

from snakemake_executor_plugin_submitit.slurm import QueueRow
from snakemake_executor_plugin_submitit.status import ENDED
from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import accounting, ask, queue
from trainrelay.slurm.reading import records


def live_jobs() -> list[QueueRow]:
    """This user's jobs that have not ended, the oldest first; SlurmError."""
    live = [row for row in queue().values() if row.state not in ENDED]
    return sorted(live, key=lambda row: int(row.job_id))


def states_of(job_id: str, deadline_s: float) -> set[str]:
    """The states of a job's parts, from squeue, else from sacct, which remembers longer; each has a deadline.

    Empty where neither knows the job or answers.
    """
    with suppress(SlurmError):  # squeue fails for a job that it has forgotten
        if rows := queue(f"--jobs={job_id}", deadline_s):
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
