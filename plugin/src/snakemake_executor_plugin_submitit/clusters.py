"""Where jobs run: each kind of cluster starts them, reports their states and ends them, through submitit.

submitit is imported when a job is submitted: every Snakemake loads this plugin, the one inside a job as well,
and the time that takes would pass between two jobs.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.errors import (
    RefusedError,
    RequestError,
    SubmititError,
    UnreachableError,
)
from snakemake_executor_plugin_submitit.here import DebugCluster, LocalCluster
from snakemake_executor_plugin_submitit.identity import token_of
from snakemake_executor_plugin_submitit.resources import sbatch_flags, sbatch_options, submitit_parameters
from snakemake_executor_plugin_submitit.settings import Settings
from snakemake_executor_plugin_submitit.slurm import Snapshot
from snakemake_executor_plugin_submitit.submission import Submission

if TYPE_CHECKING:
    import submitit

LOG = "%A_0_log.out"  # one for all, as of a job that is requeued
# A shell line: submitit looks for what it runs under the number of its task.
LINK = 'id=$SLURM_ARRAY_JOB_ID; ln -sfn "${id}_submitted.pkl" "${id}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"'
# A shell line: what one leg cannot, the next could not.
END_THE_REST = '[ -z "$SLURM_ARRAY_JOB_ID" ] || scancel --quiet --state=PENDING "$SLURM_ARRAY_JOB_ID"'
_PROGRAMS = ("sbatch", "srun", "squeue", "scancel")


class Cluster(Protocol):
    """What the executor needs of a cluster."""

    interval_s: float
    """Between two looks at all jobs."""

    def settle_s(self) -> float:
        """How long after a submission without an answer its job may appear. UnreachableError."""

    def submit(self, order: Submission) -> str:
        """The job's id. SubmititError, of which LimitError and UnreachableError mean: try again later."""

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """What is known of these jobs, and of all others of this user in Slurm."""

    def stop(self, job_ids: Iterable[str]) -> None:
        """Asks the jobs, whose cancel files are written, to save and end. UnreachableError."""

    def kill(self, job_ids: Iterable[str]) -> None:
        """Ends what is left of the jobs. UnreachableError."""


def cluster_of(settings: Settings) -> Cluster:
    """RequestError if the cluster is not there."""
    if "%" in str(settings.folder):
        raise RequestError(
            f"{settings.folder}: Slurm reads % in a log path as a pattern: set another --submitit-folder"
        )
    match settings.cluster:
        case "local":
            return LocalCluster()
        case "debug":
            return DebugCluster()
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise RequestError(
            f"there is no {missing[0]} on this machine: start on a login node of the cluster, or run the jobs"
            " here with --submitit-cluster local"
        )
    return SlurmCluster(settings)


def checked_setup(lines: list[str]) -> list[str]:
    """Shell lines of a job's script that end it if one fails: a command that ran anyway would use the wrong
    modules. What fails inside of a shell function that copes with it ends nothing."""
    if not lines:
        return []
    said = 'echo "submitit executor: this line of the set-up failed: $BASH_COMMAND" >&2'
    said = f"{said}; {END_THE_REST}; exit 1"
    return [f"trap '{said}' ERR", *lines, "trap - ERR"]


class SlurmCluster:
    """A real cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.interval_s = settings, float(settings.poll_interval_s)
        self._comments: dict[str, str] = {}  # of jobs, by id, that were not read back yet

    def settle_s(self) -> float:
        """Twice as long as sbatch waits for slurmctld."""
        return 2 * slurm.message_timeout_s()

    def submit(self, order: Submission) -> str:
        """One sbatch. What it prints is shown once, in the exception."""
        import submitit  # noqa: PLC0415

        executor = submitit.SlurmExecutor(order.folder)
        executor.update_parameters(**self._parameters(order))

        def asked(command: str) -> submitit.Job[Any]:
            # Instead of submitit's own, which has no deadline and takes any "job 114" for this job.
            script = order.folder / ".submission_file_.sh"
            script.write_text(executor._make_submission_file_text(command, ""))
            job: submitit.Job[Any] = submitit.SlurmJob(order.folder, self._asked(order, script))
            job.paths.move_temporary_file(script, "submission_file", keep_as_symlink=True)
            return job

        executor._submit_command = asked  # type: ignore[method-assign]
        job_id = str(executor.submit(order.command).job_id)
        self._comments[job_id] = order.comment
        return job_id

    def _asked(self, order: Submission, script: Path) -> str:
        try:
            return slurm.submitted_job(slurm.ask(["sbatch", str(script)], outside=True))
        except RefusedError as error:
            if slurm.SLURMCTLD_REFUSES not in str(error):
                self._look_for(order, error)
            flags = sbatch_flags(order.request, self._settings.gpu_dialect, self._settings.signal_delay_s)
            said = f"sbatch refuses it: {error}; change what it asks for: {shlex.join(flags)}"
            raise RefusedError(said) from None

    def _look_for(self, order: Submission, error: RefusedError) -> None:
        """UnreachableError if the job is in the queue: a site's wrapper may complain after it submitted."""
        for row in slurm.queue().values():
            if token_of(order.digest, row) == order.folder.name:
                raise UnreachableError(f"sbatch failed, but job {row.job_id} is in the queue: {error}")

    def _parameters(self, order: Submission) -> dict[str, Any]:
        delay_s = self._settings.signal_delay_s
        named = submitit_parameters(order.request, order.name, order.comment, delay_s)
        options = sbatch_options(order.request, self._settings.gpu_dialect)
        lines = [*self._settings.setup, *filter(None, [order.request.setup])]
        # With --export=NONE srun would keep from submitit what the script says.
        setup = ["unset SLURM_EXPORT_ENV", *checked_setup(lines)]
        if order.request.legs > 1:
            log = str(order.folder / LOG)
            options["output"] = log
            named["srun_args"] += ["--output", log]
            setup = [f"(cd {shlex.quote(str(order.folder))} && {LINK})", *setup]
        return {**named, "additional_parameters": options, "setup": setup}

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """One squeue; one sacct for all that squeue has forgotten."""
        try:
            rows = slurm.as_jobs(slurm.queue().values())
        except UnreachableError as error:
            return Snapshot(None, trouble=str(error))
        self._put_back_comments(rows)
        try:
            return Snapshot(rows, slurm.accounting(set(job_ids) - rows.keys()))
        except UnreachableError:  # many clusters have no accounting at all
            return Snapshot(rows)

    def _put_back_comments(self, rows: Mapping[str, slurm.QueueRow]) -> None:
        """A site may have rewritten them; whether it allows this or not, a job is known without."""
        for job_id in self._comments.keys() & rows.keys():
            comment = self._comments.pop(job_id)
            if rows[job_id].comment != comment:
                with suppress(SubmititError):
                    slurm.put_comment(job_id, comment)

    def stop(self, job_ids: Iterable[str]) -> None:
        """Waiting jobs are cancelled; the others get the signal that warns them."""
        ids = list(job_ids)
        slurm.cancel(ids, "--state=PENDING")
        slurm.cancel(ids, "--signal=USR2")

    def kill(self, job_ids: Iterable[str]) -> None:
        """scancel."""
        slurm.cancel(job_ids)
