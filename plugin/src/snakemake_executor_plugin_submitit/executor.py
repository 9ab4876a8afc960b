"""The executor: each Snakemake job becomes one job of the cluster, followed to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.clusters import (
    SlurmCluster,
    Snapshot,
    Submission,
    cluster_of,
    log_file,
    result_file,
)
from snakemake_executor_plugin_submitit.command import CANCEL_FILE, Command
from snakemake_executor_plugin_submitit.direct import direct_of
from snakemake_executor_plugin_submitit.environment import own_defaults
from snakemake_executor_plugin_submitit.errors import SubmititError, UnreachableError
from snakemake_executor_plugin_submitit.identity import JobIdentity, digest_of, live_job, new_token, slug
from snakemake_executor_plugin_submitit.log_endings import last_lines
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.results import Result, read_result
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked
from snakemake_executor_plugin_submitit.status import ENDED, Answer, JobVerdict, Memory, Sighting, judge

_LOOK_S = 0.1  # between two looks at the result files
_LOOKS_PER_S = 200  # at most, at the folders of all jobs together
_LOCAL_LOOK_S = 0.5
_CANCEL_LOOK_S = 1.0
_ENDED = Answer("COMPLETED")  # what squeue does not list

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


@dataclass
class TrackedJob:
    """A Snakemake job and the cluster's job that does it. `job_id` empty: not submitted yet."""

    info: SubmittedJobInfo
    name: str
    digest: str
    order: Submission
    job_id: str = ""
    memory: Memory = field(default_factory=Memory)
    said: str = ""  # the state that the user was shown last

    def log(self) -> Path:
        """Of the present submission."""
        return log_file(self.order.folder, self.job_id)


class Executor(RemoteExecutor):  # type: ignore[misc]  # the interface is not typed
    """Submits with submitit, follows with one squeue call for all jobs."""

    def __post_init__(self) -> None:
        try:
            self._settings = checked(self.workflow.executor_settings or ExecutorSettings())
            self._cluster = cluster_of(self._settings)
        except SubmititError as error:
            raise WorkflowError(str(error)) from None
        self._followed: dict[int, TrackedJob] = {}
        self._cancelling = False
        self._submitting = threading.Lock()
        self._asker = ThreadPoolExecutor(max_workers=1)
        self._asked: Future[Snapshot] | None = None
        self._asked_s = time.monotonic()
        self._trouble = ""
        self._answered = False
        self._known_rows: dict[str, slurm.QueueRow] | None = None
        if self._settings.cluster == "slurm" and (names := own_defaults(os.environ)):
            self.logger.info(f"{', '.join(names)}: not used, each job asks for what its resources say")

    # ------------------------------------------------------------------ submission

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """A SIGTERM for the controller ends it as Ctrl-C does; Snakemake alone would wait for its jobs."""
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        super().run_jobs(jobs)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submits, or follows the live job that an earlier controller submitted for the same work."""
        info = SubmittedJobInfo(job)
        try:
            followed = self._prepared(info)
            self._followed[id(info)] = followed
            self._submit_or_follow(followed)
        except SubmititError as error:
            self._followed.pop(id(info), None)
            self.report_job_error(info, msg=f"{_name(job)}: {error}. ")
            return
        info.aux = {"followed": followed}
        self.report_job_submission(info)

    def _prepared(self, info: SubmittedJobInfo) -> TrackedJob:
        job = info.job
        request = request_of(job.resources, job.threads)
        workdir = str(Path.cwd())
        digest = digest_of(workdir, (str(rule) for rule in job.rules), (str(path) for path in job.output))
        direct = direct_of(job, self.workflow, self.envvars()) if self._settings.direct else None
        line = direct.line if direct else self.format_job_exec(job)
        command = Command(line, workdir, "", self._settings.cluster, direct)
        return TrackedJob(info, _name(job), digest, Submission(slug(_name(job)), "", command, request))

    def _submit_or_follow(self, followed: TrackedJob) -> None:
        """RefusedError; where Slurm cannot be reached the job stays unsubmitted, to be tried again."""
        try:
            if not self._follows_live_job(followed):
                self._submit(followed)
        except UnreachableError as error:
            self._say_trouble(str(error))

    def _follows_live_job(self, followed: TrackedJob) -> bool:
        if not isinstance(self._cluster, SlurmCluster):
            return False
        if self._known_rows is None:
            self._known_rows = slurm.queue()
        if (found := live_job(followed.digest, self._known_rows.values())) is None:
            return False
        row, identity = found
        del self._known_rows[row.job_id]
        order = self._order(followed, identity)
        if read_result(result_file(order.folder, row.job_id)) is not None:
            return False  # it has ended, Slurm is about to notice
        followed.order = order
        self._started(followed, row.job_id, "found alive; following it")
        return True

    def _submit(self, followed: TrackedJob) -> None:
        with self._submitting:
            if self._cancelling:
                return
            followed.order = self._order(followed, JobIdentity(followed.digest, new_token()))
            followed.order.folder.mkdir(parents=True)
            self._started(followed, self._cluster.submit(followed.order), "submitted")

    def _order(self, followed: TrackedJob, identity: JobIdentity) -> Submission:
        folder = self._settings.folder / followed.order.name / identity.token
        command = replace(followed.order.command, folder=str(folder))
        return replace(followed.order, command=command, comment=identity.comment)

    def _started(self, followed: TrackedJob, job_id: str, how: str) -> None:
        followed.job_id, followed.memory, followed.said = job_id, Memory(), ""
        followed.info.external_jobid = job_id
        self.logger.info(f"{followed.name}: job {job_id} {how}; log: {followed.log()}")

    # ------------------------------------------------------------------ status

    @property
    def next_seconds_between_status_checks(self) -> float:
        """Asked from before `__post_init__` on: Snakemake's own would make the first pause 10 s."""
        return max(_LOOK_S, len(self.active_jobs) / _LOOKS_PER_S)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Looks at the result files each time, and takes in what squeue said when an answer is there."""
        snapshot = self._answer() if active_jobs else None
        for info in active_jobs:
            if self._cancelling or not self._concluded(info.aux["followed"], snapshot):
                yield info

    def _answer(self) -> Snapshot | None:
        """What the cluster said since the last time; asks again when it is time, without waiting for it."""
        if self._asked is None:
            if time.monotonic() - self._asked_s >= self._interval_s():
                self._asked_s = time.monotonic()
                self._asked = self._asker.submit(self._cluster.look, self._job_ids())
            return None
        if not self._asked.done():
            return None
        snapshot, self._asked = self._asked.result(), None
        self._say_trouble(snapshot.trouble)
        return snapshot

    def _interval_s(self) -> float:
        return self._settings.poll_interval_s if self._settings.cluster == "slurm" else _LOCAL_LOOK_S

    def _job_ids(self) -> list[str]:
        return [followed.job_id for followed in self._followed.values() if followed.job_id]

    def _concluded(self, followed: TrackedJob, snapshot: Snapshot | None) -> bool:
        if not followed.job_id:
            # It could not be submitted: once squeue answers again.
            return snapshot is not None and snapshot.queue is not None and self._resubmitted(followed)
        self._say_state(followed, snapshot)
        followed.memory, verdict = judge(followed.memory, self._sighting(followed, snapshot))
        if verdict.kind == "running":
            return False
        if verdict.kind == "interrupted":
            said = f"job {followed.job_id} will be resubmitted: {verdict.reason}"
            self.logger.warning(f"{followed.name}: {said}")
            followed.job_id = ""
            return self._resubmitted(followed)
        return self._report(followed, verdict)

    def _sighting(self, followed: TrackedJob, snapshot: Snapshot | None) -> Sighting:
        result = _result(followed)
        if snapshot is None:
            return Sighting(time.monotonic(), result)
        return Sighting(
            time.monotonic(),
            result,
            queue=snapshot.queue_answer(followed.job_id),
            accounting=snapshot.accounting_answer(followed.job_id),
            cancel_asked=(followed.order.folder / CANCEL_FILE).exists(),
        )

    def _resubmitted(self, followed: TrackedJob) -> bool:
        """True if Slurm refuses it, which ends the job."""
        try:
            self._submit_or_follow(followed)
        except SubmititError as error:
            return self._report(followed, JobVerdict("failed", str(error)))
        return False

    def _report(self, followed: TrackedJob, verdict: JobVerdict) -> bool:
        self._followed.pop(id(followed.info), None)
        if verdict.kind == "success":
            _remove_pickles(followed)
            self.report_job_success(followed.info)
        else:
            job = f"job {followed.job_id}" if followed.job_id else "no job"
            logs = [str(followed.log())] if followed.job_id else []
            last = "".join(f" {line}" for line in last_lines(_log_files(followed)))
            msg = f"{followed.name} ({job}): {verdict.reason}.{last} "
            self.report_job_error(followed.info, msg=msg, aux_logs=logs)
        return True

    # ------------------------------------------------------------------ what the user reads

    def _say_trouble(self, trouble: str) -> None:
        """Once when Slurm stops answering, once when it answers again."""
        if trouble and not self._trouble:
            # Before the first answer it may be this machine that is not right.
            hint = "" if self._answered else "; if that lasts: is this a login node, and is SLURM_CONF right?"
            self.logger.warning(
                f"Slurm does not answer; retrying; no job is considered lost: {trouble}{hint}"
            )
        elif self._trouble and not trouble:
            self.logger.info("Slurm answers again")
        self._trouble = trouble
        self._answered = self._answered or not trouble

    def _say_state(self, followed: TrackedJob, snapshot: Snapshot | None) -> None:
        answer = snapshot.queue_answer(followed.job_id) if snapshot else None
        if answer is None or not answer.state or self._settings.cluster != "slurm":
            return
        state = f"{answer.state} ({answer.reason})" if answer.reason not in ("", "None") else answer.state
        if state != followed.said:
            self.logger.info(f"{followed.name}: job {followed.job_id} is {state}")
        followed.said = state

    # ------------------------------------------------------------------ the end

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002
        """Each job saves and ends, without a requeue; a second Ctrl-C does not wait for that.

        Snakemake's list lacks the jobs that are being looked at, so ours is used.
        """
        with self._submitting:
            self._cancelling = True
        try:
            with contextlib.suppress(KeyboardInterrupt):
                self._find_submitted()
                self._stop()
                self._wait()
            self._cluster.kill(self._living())
        except UnreachableError as error:
            ids = " ".join(self._job_ids())
            todo = (
                f"the jobs could not be cancelled, so run: scancel {ids}" if ids else "no job was submitted"
            )
            self.logger.error(f"{todo} ({error})")

    def _find_submitted(self) -> None:
        """A Ctrl-C during sbatch may leave a job whose id was never read."""
        self._known_rows = None
        for followed in self._followed.values():
            if not followed.job_id:
                self._follows_live_job(followed)

    def _stop(self) -> None:
        for followed in self._followed.values():
            if followed.job_id:
                (followed.order.folder / CANCEL_FILE).touch()
        self._cluster.stop(self._living())

    def _wait(self) -> None:
        end_s = time.monotonic() + self._settings.signal_delay_s
        told = False
        while (living := self._living()) and time.monotonic() < end_s:
            if not told:
                self.logger.info(
                    f"Waiting up to {self._settings.signal_delay_s} s for jobs to save and end:"
                    f" {', '.join(living)}. Ctrl-C again ends them at once."
                )
                told = True
            time.sleep(_CANCEL_LOOK_S)

    def _living(self) -> list[str]:
        unended = [one.job_id for one in self._followed.values() if one.job_id and _result(one) is None]
        snapshot = self._cluster.look(unended) if unended else Snapshot({}, None)
        if snapshot.queue is None:
            return unended
        return [job_id for job_id in unended if snapshot.queue.get(job_id, _ENDED).state not in ENDED]

    def shutdown(self) -> None:
        """Stops asking. Jobs that still run continue."""
        super().shutdown()
        self._asker.shutdown(wait=False, cancel_futures=True)


def _name(job: Any) -> str:
    wildcards = getattr(job, "wildcards_dict", None) or {}
    named = ",".join(f"{key}={value}" for key, value in wildcards.items())
    return f"{job.name}[{named}]" if named else str(job.name)


def _log_files(followed: TrackedJob) -> list[Path]:
    """Of its rule's `log:`, a group has none; the job's own where none of its rules has begun to write."""
    job = followed.info.job
    rules = getattr(job, "jobs", [job])
    logs = [Path(str(path)) for rule in rules for path in getattr(rule, "log", None) or ()]
    if logs and not any(path.exists() for path in logs):
        return [followed.log()]
    return logs if rules == [job] else []


def _result(followed: TrackedJob) -> Result | None:
    return read_result(result_file(followed.order.folder, followed.job_id))


def _remove_pickles(followed: TrackedJob) -> None:
    """The log of a job that went well stays; what submitit needed for it goes."""
    for pattern in ("*.pkl", "*_submission.sh", ".submission_file_*"):
        for path in followed.order.folder.glob(pattern):
            path.unlink(missing_ok=True)
