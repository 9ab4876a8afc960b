"""Ctrl-C: each job saves and ends, and what does not within the time of grace is ended at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.asking import Asker
from snakemake_executor_plugin_submitit.errors import UnreachableError
from snakemake_executor_plugin_submitit.status import ENDED
from snakemake_executor_plugin_submitit.submitting import Submitter
from snakemake_executor_plugin_submitit.tracked import TrackedJob

_LOOK_S = 1.0


@dataclass
class Stopper:
    """Of one controller, for all its jobs."""

    jobs: Sequence[TrackedJob]
    asker: Asker
    submitter: Submitter
    grace_s: int
    _told: set[str] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)

    def save_and_end(self) -> None:
        """Known jobs are stopped before anything is asked: Slurm may be ending this controller, too."""
        end_s = time.monotonic() + self.grace_s
        living, late = {job.job_id: "" for job in self.jobs if job.job_id}, True
        while (living or late) and time.monotonic() < end_s:
            try:
                self._stop(living)
                late = late and self._finds_submitted()
            except UnreachableError as error:
                self.asker.say_trouble(str(error))
                late = any(job.lost for job in self.jobs)  # where nothing was submitted, nothing can appear
            living = self._living()
            if living or late:
                jobs = ", ".join([*living, *(["a job that sbatch may have submitted"] if late else [])])
                waits = f"Waiting up to {self.grace_s} s for jobs to save and end: {jobs}."
                self._say_once("", f"{waits} Ctrl-C again ends them at once.")
                for job_id in (job_id for job_id, state in living.items() if state == "SUSPENDED"):
                    helps = f"to let it, run: scontrol resume {job_id}; to end it now: scancel {job_id}"
                    self._say_once(job_id, f"job {job_id} is suspended and cannot save; {helps}")
                time.sleep(_LOOK_S)

    def _stop(self, living: Mapping[str, str]) -> None:
        """Each once; but one that waits, because Slurm has just requeued it, may be told again."""
        for job in self.jobs:
            if job.job_id:
                job.order.ask_to_end()
        new = [job_id for job_id, state in living.items() if job_id not in self._told or state == "PENDING"]
        if new:
            self.asker.cluster.stop(new)
            self._told.update(new)

    def _finds_submitted(self) -> bool:
        """A Ctrl-C during sbatch may leave a job whose id was never read; True while one may still appear."""
        if unknown := [job for job in self.jobs if not job.job_id]:
            self.asker.fresh_rows()
        late = [job for job in unknown if not self.submitter.follows(job) and self.submitter.may_appear(job)]
        return bool(late)

    def _say_once(self, of: str, text: str) -> None:
        if of not in self._said:
            self._said.add(of)
            self.asker.logger.info(text)

    def end_now(self) -> None:
        """What is left; whether that helped, squeue says."""
        with contextlib.suppress(UnreachableError):
            self.asker.cluster.kill(self._living())
        if left := [job_id for job_id, state in self._living().items() if state != "COMPLETING"]:
            ids = " ".join(left)
            self.asker.logger.error(f"jobs that may not have ended: {ids}; run: scancel {ids}")
        if lost := [job.name for job in self.jobs if job.lost]:
            self.asker.logger.error(f"sbatch gave no answer for {', '.join(lost)}: look with squeue --me")

    def _living(self) -> dict[str, str]:
        """The states of the jobs that have not ended; empty ones where there is no answer."""
        unended = [job.job_id for job in self.jobs if job.job_id and job.result() is None]
        if not unended:
            return {}
        snapshot = self.asker.look(unended)
        states = {job_id: snapshot.state(job_id) for job_id in unended}
        return {job_id: state or "" for job_id, state in states.items() if state not in {"", *ENDED}}
