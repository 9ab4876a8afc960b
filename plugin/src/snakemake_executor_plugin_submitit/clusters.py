"""Where jobs run: each kind of cluster starts them, reports their states and ends them, through submitit.

submitit is imported when a job is submitted: every Snakemake loads this plugin, the one inside a job as well,
and the time that takes would pass between two jobs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.command import Command
from snakemake_executor_plugin_submitit.errors import (
    RefusedError,
    RequestError,
    SubmititError,
    UnreachableError,
)
from snakemake_executor_plugin_submitit.legs import END_THE_REST, LINK, LOG, as_jobs
from snakemake_executor_plugin_submitit.processes import kill_tree
from snakemake_executor_plugin_submitit.resources import (
    Request,
    sbatch_flags,
    sbatch_options,
    submitit_parameters,
)
from snakemake_executor_plugin_submitit.results import read_result
from snakemake_executor_plugin_submitit.settings import Settings
from snakemake_executor_plugin_submitit.status import Answer

if TYPE_CHECKING:
    import submitit

_UNNAMED = re.compile(r"[0-9a-f]{32}")  # submitit names a pickle after its job once sbatch has answered
_PROGRAMS = ("sbatch", "srun", "squeue", "scancel")


@dataclass(frozen=True)
class Submission:
    """One submission: what to run, with what, and the folder of its files."""

    name: str
    comment: str
    command: Command
    request: Request

    @property
    def folder(self) -> Path:
        """Of this submission alone."""
        return Path(self.command.folder)


@dataclass(frozen=True)
class Snapshot:
    """The states of the jobs asked for. A job that is missing in a mapping is not known there."""

    queue: Mapping[str, Answer] | None  # None: no answer
    accounting: Mapping[str, Answer] | None  # None: not asked, or no answer
    trouble: str = ""  # why there was no answer
    rows: Mapping[str, slurm.QueueRow] | None = None  # every job of this user

    def queue_answer(self, job_id: str) -> Answer | None:
        """None if squeue gave no answer."""
        return None if self.queue is None else self.queue.get(job_id, Answer(""))

    def accounting_answer(self, job_id: str) -> Answer | None:
        """None if sacct was not asked or gave no answer."""
        return None if self.accounting is None else self.accounting.get(job_id, Answer(""))


class Cluster(Protocol):
    """What the executor needs of a cluster."""

    def submit(self, order: Submission) -> str:
        """The job's id. SubmititError, of which LimitError and UnreachableError mean: try again later."""

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """One question for all of them."""

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


def result_file(folder: Path, job_id: str) -> Path:
    """Written by submitit when the job's callable has returned, in whichever leg."""
    of_a_leg = next(folder.glob(f"{job_id}_*_0_result.pkl"), None)
    return of_a_leg or Path(_paths(folder, job_id).result_pickle)


def log_file(folder: Path, job_id: str) -> Path:
    """What the job prints, from all its runs."""
    return Path(_paths(folder, job_id).stdout)


def can_be_followed(folder: Path, row: slurm.QueueRow) -> bool:
    """Whether a live job is at its work: with a result it has ended, and without a pickle it runs nothing.

    The pickle gets the job's name if sbatch's answer was lost. RefusedError if the folder is gone.
    """
    if not folder.exists() and row.state != "COMPLETING":
        raise RefusedError(
            f"job {row.job_id} does this work already, but its folder {folder} is gone: was the working"
            f" folder moved, or that one removed? Wait until the job has ended, or run: scancel {row.job_id}"
        )
    if read_result(result_file(folder, row.job_id)) is not None:
        return False
    named = Path(_paths(folder, row.job_id).submitted_pickle)
    unnamed = [path for path in folder.glob("*.pkl") if _UNNAMED.fullmatch(path.stem)]
    if not named.exists() and len(unnamed) == 1:
        unnamed[0].rename(named)
    return named.exists()


def _paths(folder: Path, job_id: str) -> submitit.core.utils.JobPaths:
    from submitit.core.utils import JobPaths  # noqa: PLC0415

    return JobPaths(folder, job_id, 0)


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
        self._settings = settings
        self._comments: dict[str, str] = {}  # of jobs, by id, that were not read back yet

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
            folders = {Path(row.output).parent.name, Path(row.script).parent.name}
            if row.comment == order.comment or order.folder.name in folders:
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
            rows = as_jobs(slurm.queue().values())
        except UnreachableError as error:
            return Snapshot(None, None, str(error))
        asked = set(job_ids)
        queue = {
            row.job_id: Answer(row.state, row.nodes if row.state == "RUNNING" else row.reason)
            for row in rows.values()
            if row.job_id in asked
        }
        self._put_back_comments(rows)
        forgotten = asked - queue.keys()
        return Snapshot(queue, _accounted(forgotten), rows=rows)

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


def _accounted(job_ids: set[str]) -> Mapping[str, Answer] | None:
    if not job_ids:
        return None
    try:
        return {job_id: Answer(state) for job_id, state in slurm.accounting(job_ids).items()}
    except UnreachableError:
        return None  # many clusters have no accounting at all


@dataclass
class LocalCluster:
    """Processes of this machine."""

    _jobs: dict[str, submitit.Job[Any]] = field(default_factory=dict)

    def submit(self, order: Submission) -> str:
        """A controller process of submitit's, which outlives this one."""
        import submitit  # noqa: PLC0415

        executor = submitit.LocalExecutor(order.folder)
        try:
            executor.update_parameters(**_local_parameters(order.request))
        except ValueError as error:
            raise RequestError(f"on this machine: {error}") from None
        with slurm.outside_of_allocation(), _ctrl_c_ignored():
            job = executor.submit(order.command)
        self._jobs[job.job_id] = job
        return str(job.job_id)

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """A process that has ended counts as failed, unless the result file says otherwise."""
        states = {True: "RUNNING", False: "FAILED"}
        return Snapshot({job_id: Answer(states[self._runs(job_id)]) for job_id in job_ids}, None)

    def _runs(self, job_id: str) -> bool:
        return bool(self._jobs[job_id].get_info()["jobState"] == "RUNNING")

    def stop(self, job_ids: Iterable[str]) -> None:
        """submitit's controller forwards the signal."""
        for job_id in filter(self._runs, job_ids):
            os.kill(int(job_id), signal.SIGTERM)

    def kill(self, job_ids: Iterable[str]) -> None:
        """SIGKILL to submitit's controller and all that it started."""
        for job_id in filter(self._runs, job_ids):
            kill_tree(int(job_id))


def _local_parameters(request: Request) -> dict[str, Any]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    gpus = tuple(int(number) for number in visible.split(",")) if visible.replace(",", "").isdigit() else ()
    if request.gpus.gres:
        raise RequestError(f"gres={request.gpus.gres} means nothing on this machine: write gpu=8 instead")
    return {
        "timeout_min": request.runtime_min or 60 * 24 * 365,
        "nodes": request.nodes,
        "gpus_per_node": request.gpus.number,
        "visible_gpus": gpus,
        "stderr_to_stdout": True,
    }


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """A Ctrl-C on the terminal reaches every process: the jobs get their signal from us, with grace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class DebugCluster:
    """This very process, one job after the other; what a job prints goes to the terminal."""

    def submit(self, order: Submission) -> str:
        """Runs the job before it returns."""
        import submitit  # noqa: PLC0415

        job = submitit.DebugExecutor(order.folder).submit(order.command)
        value = job.result()
        path = result_file(order.folder, job.job_id)
        submitit.core.utils.cloudpickle_dump(("success", value), path)
        return str(job.job_id)

    def look(self, job_ids: Iterable[str]) -> Snapshot:
        """Whatever was submitted has ended."""
        return Snapshot(dict.fromkeys(job_ids, Answer("COMPLETED")), None)

    def stop(self, job_ids: Iterable[str]) -> None:
        """Nothing runs."""

    def kill(self, job_ids: Iterable[str]) -> None:
        """Nothing runs."""
