"""This user's jobs, found by their comment; one squeue call, no registry."""

from __future__ import annotations

from dataclasses import dataclass

from trainrelay.slurm.ask import ask

_FORMAT = "%A|%T|%r|%N|%k"  # the comment last: it alone may hold anything
_OWN = "JobID:.20,State:.30,RestartCnt:.12,Reason:.40"
_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job as squeue lists it. `nodes` is empty for one that waits; `reason` says what it waits for."""

    job_id: str
    state: str
    reason: str
    nodes: str = ""
    restarts: int = 0


def live_jobs(comment: str) -> list[Job]:
    """This user's jobs with this comment that have not ended, the oldest first; SlurmError."""
    said = ask(["squeue", "--me", "--noheader", "--states=all", f"--format={_FORMAT}"])
    return read_jobs(said, comment)


def read_jobs(said: str, comment: str) -> list[Job]:
    """From squeue's lines; those of another shape are left out."""
    rows = [line.strip().split("|", 4) for line in said.splitlines()]
    ours = [row for row in rows if len(row) == 5 and row[0].isdigit() and row[4] == comment]
    jobs = [Job(row[0], row[1], row[2], row[3]) for row in ours if row[1] not in _ENDED]
    return sorted(jobs, key=lambda job: int(job.job_id))


def own_job(job_id: str, deadline_s: float) -> Job | None:
    """A job as Slurm sees it now; None for one that it does not know. SlurmError."""
    argv = ["squeue", "--noheader", "--states=all", f"--Format={_OWN}", f"--jobs={job_id}"]
    return read_own(ask(argv, deadline_s=deadline_s))


def read_own(said: str) -> Job | None:
    """From one line of squeue's."""
    words = said.split(maxsplit=3)
    if len(words) < 3 or not words[2].isdigit():
        return None
    return Job(words[0], words[1], words[3].strip() if len(words) > 3 else "", restarts=int(words[2]))
