"""The executor: each Snakemake job becomes one job of the cluster, followed to its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_submitit.asking import Asker
from snakemake_executor_plugin_submitit.clusters import cluster_of
from snakemake_executor_plugin_submitit.command import CANCEL_FILE, Command
from snakemake_executor_plugin_submitit.direct import direct_of
from snakemake_executor_plugin_submitit.environment import own_defaults
from snakemake_executor_plugin_submitit.errors import SubmititError
from snakemake_executor_plugin_submitit.identity import slug
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked
from snakemake_executor_plugin_submitit.slurm import QueueRow, Snapshot, printable
from snakemake_executor_plugin_submitit.status import JobVerdict, Sighting, judge
from snakemake_executor_plugin_submitit.stopping import Stopper
from snakemake_executor_plugin_submitit.submission import Submission
from snakemake_executor_plugin_submitit.submitting import Submitter
from snakemake_executor_plugin_submitit.tracked import TrackedJob, digest_in, last_lines, name_of, params_of
from snakemake_executor_plugin_submitit.waits import help_for

_LOOK_S = 0.1  # between two looks at the result files
_LOOKS_PER_S = 200  # at most, at the folders of all jobs together

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
)


class PlainLogger(logging.LoggerAdapter[logging.Logger]):
    """Snakemake's logger; file names and what Slurm says come from outside."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Each message, made printable."""
        return printable(str(msg)), kwargs


class Executor(RemoteExecutor):  # type: ignore[misc]  # the interface is not typed
    """Submits with submitit, follows with one squeue call for all jobs."""

    def __post_init__(self) -> None:
        self.logger: Any = PlainLogger(self.logger)
        try:
            self._settings = checked(self.workflow.executor_settings or ExecutorSettings())
            self._asker = Asker(cluster_of(self._settings), self.logger)
        except SubmititError as error:
            raise WorkflowError(printable(str(error))) from None
        self._jobs: list[TrackedJob] = []
        self._submitter = Submitter(self._asker, Path(self._settings.folder))
        if self._settings.cluster == "slurm" and (names := own_defaults(os.environ)):
            self.logger.info(f"{', '.join(names)}: not used, each job asks for what its resources say")

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """A SIGTERM for the controller ends it as Ctrl-C does; Snakemake alone would wait for its jobs."""
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        super().run_jobs(jobs)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submits, or follows the live job that an earlier controller submitted for the same work."""
        info = SubmittedJobInfo(job)
        try:
            tracked = TrackedJob(info, self._order(job))
            self._jobs.append(tracked)
            self._submitter.submit(tracked)
        except (SubmititError, OSError) as error:  # OSError names the file: a full disk
            self._jobs = [one for one in self._jobs if one.info is not info]
            self.report_job_error(info, msg=f"{name_of(job)}: {error}. ")
            return
        info.aux = {"tracked": tracked}
        self.report_job_submission(info)

    def _order(self, job: JobExecutorInterface) -> Submission:
        # Each job waits for this folder; .snakemake may have been removed since the start.
        Path(self.tmpdir).mkdir(parents=True, exist_ok=True)
        request, workdir = request_of(job.resources, job.threads), str(Path.cwd())
        direct = direct_of(job, self.workflow, self.envvars()) if self._settings.direct else None
        line = direct.line if direct else self.format_job_exec(job)
        command = Command(line, workdir, "", self._settings.cluster, direct)
        return Submission(slug(name_of(job)), digest_in(job, workdir), params_of(job), command, request)

    @property
    def next_seconds_between_status_checks(self) -> float:
        """Asked from before `__post_init__` on: Snakemake's own would make the first pause 10 s."""
        return max(_LOOK_S, len(self.active_jobs) / _LOOKS_PER_S)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Looks at the result files each time, and takes in what squeue said when an answer is there.

        First asked before `__post_init__`, without a job.
        """
        snapshot = self._asker.poll([job.job_id for job in self._jobs if job.job_id]) if active_jobs else None
        for info in active_jobs:
            if self._submitter.ended or not self._concluded(info.aux["tracked"], snapshot):
                yield info

    def _concluded(self, job: TrackedJob, snapshot: Snapshot | None) -> bool:
        if not job.job_id:
            # It could not be submitted, or was without an answer: once squeue answers again.
            return snapshot is not None and snapshot.rows is not None and self._resubmitted(job)
        seen = Sighting(time.monotonic(), job.result())
        if snapshot:
            row = (snapshot.rows or {}).get(job.job_id)
            if row and self._settings.cluster == "slurm":
                self._say_state(job, row)
            seen = replace(
                seen,
                queue=snapshot.state(job.job_id),
                accounting=snapshot.accounting.get(job.job_id, ""),
                ran=bool(row and row.nodes),
                cancel_asked=(job.order.folder / CANCEL_FILE).exists(),
            )
        job.memory, verdict = judge(job.memory, seen)
        if verdict.kind == "running":
            return False
        if verdict.kind == "interrupted":
            self.logger.warning(f"{job.name}: job {job.job_id} will be resubmitted: {verdict.reason}")
            job.job_id = ""
            return self._resubmitted(job)
        return self._report(job, verdict)

    def _resubmitted(self, job: TrackedJob) -> bool:
        """True if Slurm refuses it, which ends the job."""
        try:
            self._submitter.submit(job)
        except SubmititError as error:
            return self._report(job, JobVerdict("failed", str(error)))
        return False

    def _report(self, job: TrackedJob, verdict: JobVerdict) -> bool:
        self._jobs.remove(job)
        self._submitter.limit.eased()
        if verdict.kind == "success":
            job.order.tidy()
            self.report_job_success(job.info)
        else:
            what, logs = (f"job {job.job_id}", [str(job.log)]) if job.job_id else ("no job", [])
            last = "".join(f" {line}" for line in last_lines(job.log_files()))
            msg = f"{job.name} ({what}): {verdict.reason}.{last} "
            self.report_job_error(job.info, msg=msg, aux_logs=logs)
        return True

    def report_job_error(self, job_info: SubmittedJobInfo, msg: Any = None, **kwargs: Any) -> None:
        """As Snakemake does, made printable."""
        super().report_job_error(job_info, msg=printable(str(msg or "")), **kwargs)

    def _say_state(self, job: TrackedJob, row: QueueRow) -> None:
        """A new state; what helps, once two answers in a row gave a reason that does not pass by itself."""
        why = row.nodes if row.state == "RUNNING" else row.reason
        state = f"{row.state} ({why})" if why not in ("", "None") else row.state
        what = help_for(row.reason, job.job_id) if row.state == "PENDING" else ""
        if state != job.said:
            self.logger.info(f"{job.name}: job {job.job_id} is {state}")
        elif what not in ("", job.helped):
            self.logger.warning(f"{job.name}: job {job.job_id} does not start: {what}")
            job.helped = what
        job.said = state

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002
        """Each job saves and ends, without a requeue; a second Ctrl-C does not wait for that.

        Snakemake's list lacks the jobs that are being looked at, so ours is used.
        """
        self._submitter.end()
        grace_s = max((job.order.request.signal_delay_s for job in self._jobs), default=0)
        stopper = Stopper(self._jobs, self._asker, self._submitter, grace_s)
        with contextlib.suppress(KeyboardInterrupt):
            stopper.save_and_end()
        stopper.end_now()
