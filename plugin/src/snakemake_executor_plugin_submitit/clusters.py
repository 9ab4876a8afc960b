"""Where jobs run: each kind of cluster starts them, reports their states and ends them."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.errors import (
    RefusedError,
    RequestError,
    SubmititError,
    UnreachableError,
)
from snakemake_executor_plugin_submitit.here import LocalCluster
from snakemake_executor_plugin_submitit.identity import token_of
from snakemake_executor_plugin_submitit.resources import Request, dialect_of, sbatch_flags
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.slurm import Snapshot
from snakemake_executor_plugin_submitit.submission import Submission, name_command

_PROGRAMS = ("sbatch", "srun", "squeue", "scancel")
# Shell lines. Of a leg: submitit looks for what it runs under the number of its task.
_LINK = 'id=$SLURM_ARRAY_JOB_ID; ln -sfn "${id}_submitted.pkl" "${id}_${SLURM_ARRAY_TASK_ID}_submitted.pkl"'
# Where the set-up fails: what one leg cannot, the next could not.
_SETUP_FAILED = (
    'echo "submitit executor: this line of the set-up failed: $BASH_COMMAND" >&2;'
    ' [ -z "$SLURM_ARRAY_JOB_ID" ] || scancel --quiet --state=PENDING "$SLURM_ARRAY_JOB_ID"; exit 1'
)


class SlurmCluster:
    """A real cluster. The others have the same methods."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings, self.interval_s = settings, float(settings.poll_interval_s)
        self._comments: dict[str, str] = {}  # of jobs, by id, that were not read back yet

    def settle_s(self) -> float:
        """How long after a submission without an answer its job may appear. UnreachableError."""
        return 2 * slurm.message_timeout_s()

    def submit(self, order: Submission) -> str:
        """The job's id, by one sbatch. What that prints is shown once, in the exception.

        SubmititError, of which LimitError and UnreachableError mean: try again later.
        """
        order.write_command()
        script = order.folder / "submission.sh"
        script.write_text(self.script(order), encoding="utf-8")
        job_id = self._asked(order, script)
        name_command(order.folder, job_id)
        self._comments[job_id] = order.comment
        return job_id

    def script(self, order: Submission) -> str:
        """What sbatch gets: the flags that a plan shows, and the start of submitit on the first node."""
        request, folder = order.request, str(order.folder)
        log = f"{folder}/%{'A' if request.legs > 1 else 'j'}_0_log.out"  # one for all legs
        named = [f"--job-name={order.name}", f"--comment={order.comment}", f"--output={log}"]
        setup = [*(self._settings.setup or "").splitlines(), *filter(None, [request.setup])]
        # One process for the whole job. srun no longer inherits --cpus-per-task.
        srun = ["srun", "--unbuffered", f"--output={log}", "--nodes=1", "--ntasks=1"]
        srun += [f"--cpus-per-task={request.cpus_per_task}", sys.executable, "-u"]
        lines = [
            "#!/bin/bash",
            *(
                f"#SBATCH {shlex.quote(flag)}"
                for flag in [*named, "--open-mode=append", *self._flags(request)]
            ),
            *([f"(cd {shlex.quote(folder)} && {_LINK})"] if request.legs > 1 else []),
            "unset SLURM_EXPORT_ENV",  # with --export=NONE srun would pass on nothing of what is set here
            # With a line that failed the command would use the wrong modules. What fails inside of a shell
            # function that copes with it ends nothing.
            *([f"trap '{_SETUP_FAILED}' ERR", *setup, "trap - ERR"] if setup else []),
            "export SUBMITIT_EXECUTOR=slurm",
            shlex.join([*srun, "-m", "submitit.core._submit", folder]),
        ]
        return "\n".join([*lines, ""])

    def _flags(self, request: Request) -> tuple[str, ...]:
        dialect = dialect_of("--submitit-gpu-dialect ", self._settings.gpu_dialect)
        return sbatch_flags(request, dialect)

    def _asked(self, order: Submission, script: Path) -> str:
        try:
            return slurm.submitted_job(slurm.ask(["sbatch", str(script)], outside=True))
        except RefusedError as error:
            # A site's wrapper may complain in sbatch's words after it submitted.
            for row in () if slurm.SLURMCTLD_REFUSES in str(error) else slurm.queue().values():
                if token_of(order.digest, row) == order.folder.name:
                    said = f"sbatch failed, but job {row.job_id} is in the queue: {error}"
                    raise UnreachableError(said) from None
            flags = shlex.join(self._flags(order.request))
            raise RefusedError(
                f"sbatch refuses it: {error}; it asked for: {flags}; change its resources"
            ) from None

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """All of this user's jobs by one squeue; one sacct for those that squeue has forgotten."""
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
        """Waiting jobs are cancelled, running ones warned; UnreachableError. Their cancel files are written.

        For a suspended one scancel would hang.
        """
        ids = list(job_ids)
        slurm.cancel(ids, "--state=PENDING")
        slurm.cancel(ids, "--state=RUNNING", "--signal=USR2")

    def kill(self, job_ids: Iterable[str]) -> None:
        """Ends what is left of the jobs. UnreachableError."""
        slurm.cancel(job_ids)


Cluster = SlurmCluster | LocalCluster


def cluster_of(settings: ExecutorSettings) -> Cluster:
    """RequestError if the cluster is not there."""
    if misread := re.search(r"[%\\\x00-\x1f\x7f]", settings.folder):
        raise RequestError(
            f"{settings.folder!r}: Slurm misreads {misread[0]!r} in a path: set another --submitit-folder,"
            " or run in another folder"
        )
    if settings.cluster == "local":
        return LocalCluster()
    missing = next((f"there is no {one}" for one in _PROGRAMS if shutil.which(one) is None), "")
    if why := missing or slurm.unconfigured():
        raise RequestError(
            f"{why} on this machine: start on a login node of the cluster, or run the jobs here with"
            " --submitit-cluster local"
        )
    return SlurmCluster(settings)
