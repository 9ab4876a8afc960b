"""Each job is submitted once: one that an earlier controller, or a lost answer, left behind is followed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.asking import Asker
from snakemake_executor_plugin_submitit.errors import LimitError, RefusedError, UnclearError, UnreachableError
from snakemake_executor_plugin_submitit.identity import live_jobs, new_token
from snakemake_executor_plugin_submitit.status import ENDED
from snakemake_executor_plugin_submitit.submission import Submission, can_be_followed
from snakemake_executor_plugin_submitit.tracked import TrackedJob, digest_in, rules_of

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0


@dataclass
class LimitPause:
    """Between two submissions while such a limit holds; twice as long each time. The clock never jumps."""

    _until_s: float = 0.0
    _next_s: float = _FIRST_PAUSE_S

    def holds(self, now_s: float) -> bool:
        """Whether it is too early to submit."""
        return now_s < self._until_s

    def refused(self, now_s: float) -> None:
        """The limit was met."""
        self._until_s, self._next_s = now_s + self._next_s, min(2 * self._next_s, _LONGEST_PAUSE_S)

    def eased(self) -> None:
        """A job was accepted, or one of ours ended."""
        self._until_s, self._next_s = 0.0, _FIRST_PAUSE_S


class Submitter:
    """Of one controller. `folder`: of all its submissions."""

    def __init__(self, asker: Asker, folder: Path) -> None:
        self.ended = False
        self.limit = LimitPause()
        self._asker, self._folder = asker, folder
        self._busy = threading.Lock()
        self._limits_said: set[str] = set()

    def submit(self, job: TrackedJob) -> None:
        """Or follows it; where the cluster cannot take it now it stays unsubmitted. RefusedError."""
        try:
            if not self.follows(job) and not self.may_appear(job) and not self.limit.holds(time.monotonic()):
                self._submit(job)
        except UnreachableError as error:
            self._asker.say_trouble(str(error))
        except LimitError as error:
            self.limit.refused(time.monotonic())
            if (limit := str(error)) not in self._limits_said:
                self._limits_said.add(limit)
                said = f"{limit}; each job is submitted when that allows it. Ctrl-C ends the wait."
                self._asker.logger.warning(f"{job.name}: {said}")

    def end(self) -> None:
        """Submits no more, and is not about to."""
        with self._busy:
            self.ended = True

    def _submit(self, job: TrackedJob) -> None:
        with self._busy:
            if self.ended:
                return
            job_id = self._accepted(job, job.asked)
            self.limit.eased()
            legs, most = job.order.request.legs, job.asked.request.legs
            fewer = f" with {legs} of {most} legs: a limit on submitted jobs" if legs < most else ""
            self._begin(job, job_id, f"submitted{fewer}")

    def _accepted(self, job: TrackedJob, asked: Submission) -> str:
        """The job's id, with as many legs as a limit allows: the last one requeues itself."""
        job.order = asked.within(self._folder, new_token(asked.digest))
        try:
            job.order.note_params()
            return self._asker.cluster.submit(job.order)
        except (UnreachableError, KeyboardInterrupt) as error:
            job.lost, job.lost_s = error, time.monotonic()
            raise
        except OSError as error:  # before the cluster was asked: a full disk, a quota
            job.order.remove()
            raise RefusedError(f"its files in {job.order.folder} cannot be written: {error}") from None
        except LimitError:
            job.order.remove()
            if (legs := asked.request.legs // 2) < 1:
                raise
        return self._accepted(job, replace(asked, request=replace(asked.request, legs=legs)))

    def _begin(self, job: TrackedJob, job_id: str, how: str) -> None:
        job.begin(job_id)
        self._asker.logger.info(f"{job.name}: job {job_id} {how}; log: {job.log}")

    def may_appear(self, job: TrackedJob) -> bool:
        """Whether a submission without an answer, of which squeue knew no job, may still become one.

        RefusedError where sbatch had an answer that was not Slurm's, and it has not.
        """
        if job.lost is None:
            return False
        if self._asker.rows_s < job.lost_s + self._asker.cluster.settle_s():
            return True
        lost, job.lost = job.lost, None
        job.order.remove()
        if isinstance(lost, UnclearError) and not self.ended:
            raise RefusedError(f"{lost}; {self._asker.cluster.settle_s():g} s later there is no job of it")
        return False

    def follows(self, job: TrackedJob) -> bool:
        """Whether a live job does this work already, and is now followed. RefusedError, UnreachableError."""
        rows = self._asker.fresh_rows() if self._asker.rows is None else self._asker.rows
        digest, workdir = partial(digest_in, job.info.job), job.order.command.workdir
        for row, token in live_jobs(digest, workdir, rows.values()):
            order = job.order.within(self._folder, token)
            if self.ended and not (order.folder.exists() and Path(row.workdir).exists()):
                continue
            if can_be_followed(order.folder, row) and not self._withdrawn(job, order, row):
                job.order = order
                how = (
                    "sbatch gave no answer, but it was submitted" if job.lost else "found alive; following it"
                )
                self._begin(job, row.job_id, how)
                return True
        return False

    def _withdrawn(self, job: TrackedJob, order: Submission, row: slurm.QueueRow) -> bool:
        """Whether it was submitted with other params and has not begun. RefusedError if it has."""
        since = order.other_params_since()
        if not since or self.ended:
            return False
        if row.state == "PENDING":
            slurm.cancel([row.job_id], "--state=PENDING")
        now = self._asker.fresh_rows().get(row.job_id)
        if now and now.state not in ENDED:
            # Snakemake records a failed job's params, too: what the other one writes would pass for done.
            for rule in rules_of(job.info.job):
                rule._non_derived_params = [f"those of job {row.job_id}"]
            job.info.job.dag.workflow.persistence._params.cache_clear()
            raise RefusedError(
                f"job {row.job_id} does this with other params since {since}: wait for its end, or stop it"
                f" with: scancel {row.job_id}"
            )
        if now and now.state == "CANCELLED":
            said = f"job {row.job_id} waits with other params; cancelled, submitting again"
            self._asker.logger.warning(f"{job.name}: {said}")
        return True
