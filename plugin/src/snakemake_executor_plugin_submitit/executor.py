"""The executor: each Snakemake job becomes one job of the cluster, followed to its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.clusters import SlurmCluster, cluster_of
from snakemake_executor_plugin_submitit.command import CANCEL_FILE, Command
from snakemake_executor_plugin_submitit.direct import direct_of
from snakemake_executor_plugin_submitit.environment import own_defaults
from snakemake_executor_plugin_submitit.errors import (
    LimitError,
    RefusedError,
    SubmititError,
    UnreachableError,
)
from snakemake_executor_plugin_submitit.identity import (
    JobIdentity,
    jobs_of_other_folders,
    live_jobs,
    new_token,
    slug,
)
from snakemake_executor_plugin_submitit.limits import LimitPause
from snakemake_executor_plugin_submitit.log_endings import last_lines
from snakemake_executor_plugin_submitit.params import note_params, other_params_since
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.settings import ExecutorSettings, checked
from snakemake_executor_plugin_submitit.slurm import Snapshot
from snakemake_executor_plugin_submitit.status import ENDED, Answer, JobVerdict, Memory, Sighting, judge
from snakemake_executor_plugin_submitit.submission import Submission, can_be_followed
from snakemake_executor_plugin_submitit.tracked import (
    TrackedJob,
    digest_in,
    log_files,
    name_of,
    params_of,
    remove_pickles,
    result_of,
    rules_of,
)
from snakemake_executor_plugin_submitit.waits import help_for

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
        self._known_rows: Mapping[str, slurm.QueueRow] | None = None
        self._known_s = 0.0  # when they were asked for
        self._limit = LimitPause()
        self._limits_said: set[str] = set()
        self._waiting_said = False
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
            self.report_job_error(info, msg=f"{name_of(job)}: {error}. ")
            return
        info.aux = {"followed": followed}
        self.report_job_submission(info)

    def _prepared(self, info: SubmittedJobInfo) -> TrackedJob:
        job = info.job
        # Each job waits for this folder; .snakemake may have been removed since the start.
        Path(self.tmpdir).mkdir(parents=True, exist_ok=True)
        request = request_of(job.resources, job.threads)
        workdir = str(Path.cwd())
        digest = digest_in(job, workdir)
        direct = direct_of(job, self.workflow, self.envvars()) if self._settings.direct else None
        line = direct.line if direct else self.format_job_exec(job)
        command = Command(line, workdir, "", self._settings.cluster, direct)
        return TrackedJob(info, name_of(job), digest, Submission(slug(name_of(job)), "", command, request))

    def _submit_or_follow(self, followed: TrackedJob) -> None:
        """RefusedError; where Slurm cannot take it now the job stays unsubmitted, to be tried again."""
        try:
            if self._follows_live_job(followed) or self._may_appear(followed):
                return
            if not self._limit.holds(time.monotonic()):
                self._submit(followed)
        except UnreachableError as error:
            self._say_trouble(str(error))
        except LimitError as error:
            self._limit.refused(time.monotonic())
            self._say_limit(followed, str(error))

    def _follows_live_job(self, followed: TrackedJob) -> bool:
        if not isinstance(self._cluster, SlurmCluster):
            return False
        if self._known_rows is None:
            self._known_s, self._known_rows = time.monotonic(), slurm.as_jobs(slurm.queue().values())
        for row, identity in live_jobs(followed.digest, self._known_rows.values()):
            order = self._order(followed, identity)
            if self._cancelling and not order.folder.exists():
                continue
            if can_be_followed(order.folder, row) and not self._withdrawn(followed, order.folder, row):
                followed.order = order
                lost = followed.lost_s is not None
                how = "sbatch gave no answer, but it was submitted" if lost else "found alive; following it"
                self._started(followed, row.job_id, how)
                return True
        if not self._cancelling:
            self._refuse_beside_moved(followed, self._known_rows.values())
        return False

    def _withdrawn(self, followed: TrackedJob, folder: Path, row: slurm.QueueRow) -> bool:
        """Whether it was submitted with other params and has not begun. RefusedError if it has."""
        since = other_params_since(folder, params_of(followed.info.job))
        if not since or self._cancelling:
            return False
        if row.state == "PENDING":
            slurm.cancel([row.job_id], "--state=PENDING")
        self._known_s, self._known_rows = time.monotonic(), slurm.as_jobs(slurm.queue().values())
        now = self._known_rows.get(row.job_id)
        if now and now.state not in ENDED:
            # Snakemake records a failed job's params, too: what the other one writes would pass for done.
            for rule in rules_of(followed.info.job):
                rule._non_derived_params = [f"those of job {row.job_id}"]
            self.workflow.persistence._params.cache_clear()
            raise RefusedError(
                f"job {row.job_id} does this with other params since {since}: wait for its end, or stop it"
                f" with: scancel {row.job_id}"
            )
        if now and now.state == "CANCELLED":
            said = f"job {row.job_id} waits with other params; cancelled, submitting again"
            self.logger.warning(f"{followed.name}: {said}")
        return True

    def _refuse_beside_moved(self, followed: TrackedJob, rows: Iterable[slurm.QueueRow]) -> None:
        """Its processes are in this folder now, whatever the folder is called."""
        digest, workdir = partial(digest_in, followed.info.job), followed.order.command.workdir
        for job_id, other in jobs_of_other_folders(digest, workdir, str(self._settings.folder), rows):
            if not Path(other).exists():
                raise RefusedError(
                    f"job {job_id} does this work already; it was submitted from {other}, which is gone: was"
                    f" it moved here? Wait until the job has ended, or run: scancel {job_id}"
                )

    def _may_appear(self, followed: TrackedJob) -> bool:
        """Whether a submission without an answer, of which squeue knew no job, may still become one."""
        if followed.lost_s is None or not isinstance(self._cluster, SlurmCluster):
            return False
        if self._known_s < followed.lost_s + 2 * slurm.message_timeout_s():
            return True
        self._forget(followed)
        return False

    def _forget(self, followed: TrackedJob) -> None:
        """A submission that came to nothing. Without its folder a job of it would end at once."""
        followed.lost_s = None
        shutil.rmtree(followed.order.folder, ignore_errors=True)

    def _submit(self, followed: TrackedJob) -> None:
        with self._submitting:
            if self._cancelling:
                return
            identity = JobIdentity(followed.digest, new_token(followed.digest))
            followed.order = self._order(followed, identity)
            followed.order.folder.mkdir(parents=True)
            note_params(followed.order.folder, params_of(followed.info.job))
            try:
                job_id = self._cluster.submit(followed.order)
            except (UnreachableError, KeyboardInterrupt):
                followed.lost_s = time.monotonic()
                raise
            except LimitError:
                self._forget(followed)
                raise
            self._limit.eased()
            self._started(followed, job_id, "submitted")

    def _order(self, followed: TrackedJob, identity: JobIdentity) -> Submission:
        folder = self._settings.folder / followed.order.name / identity.token
        command = replace(followed.order.command, folder=str(folder))
        return replace(followed.order, command=command, comment=identity.comment)

    def _started(self, followed: TrackedJob, job_id: str, how: str) -> None:
        followed.job_id, followed.memory, followed.said, followed.lost_s = job_id, Memory(), "", None
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
        if snapshot.rows is not None:
            self._known_s, self._known_rows = self._asked_s, snapshot.rows
        return snapshot

    def _interval_s(self) -> float:
        return self._settings.poll_interval_s if self._settings.cluster == "slurm" else _LOCAL_LOOK_S

    def _job_ids(self) -> list[str]:
        return [followed.job_id for followed in self._followed.values() if followed.job_id]

    def _concluded(self, followed: TrackedJob, snapshot: Snapshot | None) -> bool:
        if not followed.job_id:
            # It could not be submitted, or was without an answer: once squeue answers again.
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
        result = result_of(followed)
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
        self._limit.eased()
        if verdict.kind == "success":
            remove_pickles(followed)
            self.report_job_success(followed.info)
        else:
            job = f"job {followed.job_id}" if followed.job_id else "no job"
            logs = [str(followed.log())] if followed.job_id else []
            last = "".join(f" {line}" for line in last_lines(log_files(followed)))
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

    def _say_limit(self, followed: TrackedJob, limit: str) -> None:
        """Once for each limit."""
        if limit not in self._limits_said:
            self._limits_said.add(limit)
            self.logger.warning(
                f"{followed.name}: {limit}; each job is submitted when that allows it. Ctrl-C ends the wait."
            )

    def _say_state(self, followed: TrackedJob, snapshot: Snapshot | None) -> None:
        answer = snapshot.queue_answer(followed.job_id) if snapshot else None
        if answer is None or not answer.state or self._settings.cluster != "slurm":
            return
        state = f"{answer.state} ({answer.reason})" if answer.reason not in ("", "None") else answer.state
        if state != followed.said:
            self.logger.info(f"{followed.name}: job {followed.job_id} is {state}")
        elif answer.state == "PENDING":
            self._say_what_helps(followed, help_for(answer.reason, followed.job_id))
        followed.said = state

    def _say_what_helps(self, followed: TrackedJob, what: str) -> None:
        """Once, when two answers in a row gave a reason that does not pass by itself."""
        if what and what != followed.helped:
            followed.helped = what
            self.logger.warning(f"{followed.name}: job {followed.job_id} does not start: {what}")

    # ------------------------------------------------------------------ the end

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002
        """Each job saves and ends, without a requeue; a second Ctrl-C does not wait for that.

        Snakemake's list lacks the jobs that are being looked at, so ours is used.
        """
        with self._submitting:
            self._cancelling = True
        with contextlib.suppress(KeyboardInterrupt):
            self._save_and_end()
        self._end_now()

    def _save_and_end(self) -> None:
        """Known jobs are stopped before anything is asked: Slurm may be ending this controller, too."""
        end_s = time.monotonic() + self._settings.signal_delay_s
        living, told, late = dict.fromkeys(self._job_ids(), ""), set[str](), True
        while (living or late) and time.monotonic() < end_s:
            try:
                self._stop(living, told)
                late = late and self._finds_submitted()
            except UnreachableError as error:
                self._say_trouble(str(error))
            living = self._living()
            if living or late:
                self._say_waiting([*living, *(["a job that sbatch may have submitted"] if late else [])])
                time.sleep(_CANCEL_LOOK_S)

    def _finds_submitted(self) -> bool:
        """A Ctrl-C during sbatch may leave a job whose id was never read; True while one may still appear."""
        self._known_rows = None
        unknown = [followed for followed in self._followed.values() if not followed.job_id]
        late = [one for one in unknown if not self._follows_live_job(one) and self._may_appear(one)]
        return bool(late)

    def _stop(self, living: Mapping[str, str], told: set[str]) -> None:
        """Each once; but one that waits, because Slurm has just requeued it, may be told again."""
        for followed in self._followed.values():
            if followed.job_id:
                # Without the file, its folder is gone or the disk is full, it requeues itself and then waits.
                with contextlib.suppress(OSError):
                    followed.order.folder.mkdir(parents=True, exist_ok=True)
                    (followed.order.folder / CANCEL_FILE).touch()
        new = [job_id for job_id, state in living.items() if job_id not in told or state == "PENDING"]
        if new:
            self._cluster.stop(new)
            told.update(new)

    def _say_waiting(self, jobs: list[str]) -> None:
        """Once, for those that there are then."""
        if not self._waiting_said:
            self._waiting_said = True
            self.logger.info(
                f"Waiting up to {self._settings.signal_delay_s} s for jobs to save and end:"
                f" {', '.join(jobs)}. Ctrl-C again ends them at once."
            )

    def _end_now(self) -> None:
        """What is left; whether that helped, squeue says."""
        with contextlib.suppress(UnreachableError):
            self._cluster.kill(self._living())
        if left := [job_id for job_id, state in self._living().items() if state != "COMPLETING"]:
            ids = " ".join(left)
            self.logger.error(f"jobs that may not have ended: {ids}; run: scancel {ids}")
        if lost := [one.name for one in self._followed.values() if one.lost_s is not None]:
            self.logger.error(f"sbatch gave no answer for {', '.join(lost)}: look with squeue --me")

    def _living(self) -> dict[str, str]:
        """The states of the jobs that have not ended; empty ones where Slurm does not answer."""
        unended = [one.job_id for one in self._followed.values() if one.job_id and result_of(one) is None]
        if not unended:
            return {}
        snapshot = self._cluster.look(unended)
        self._say_trouble(snapshot.trouble)
        if snapshot.queue is None:
            return dict.fromkeys(unended, "")
        states = {job_id: snapshot.queue.get(job_id, _ENDED).state for job_id in unended}
        return {job_id: state for job_id, state in states.items() if state not in ENDED}

    def shutdown(self) -> None:
        """Stops asking. Jobs that still run continue."""
        super().shutdown()
        self._asker.shutdown(wait=False, cancel_futures=True)
