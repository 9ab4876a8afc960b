"""One submission: what it runs, and the files in its folder.

submitit is imported when a job is submitted: every Snakemake loads this plugin, the one inside a job as well,
and the time that takes would pass between two jobs.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from snakemake_executor_plugin_submitit.command import CANCEL_FILE, Command
from snakemake_executor_plugin_submitit.errors import RefusedError, UnreachableError
from snakemake_executor_plugin_submitit.identity import comment_of
from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.slurm import QueueRow
from snakemake_executor_plugin_submitit.status import read_result

PARAMS_FILE = "params"
UNNAMED = "unnamed.pkl"
"""The command of a job whose number is not known."""


@dataclass(frozen=True)
class Submission:
    """What to run, with what, and the folder of its files, which is called by its token."""

    name: str
    digest: str
    params: str  # the digest of those that trigger a rerun
    command: Command
    request: Request

    @property
    def folder(self) -> Path:
        """Of this submission alone."""
        return Path(self.command.folder)

    @property
    def comment(self) -> str:
        """By what its job is known first."""
        return comment_of(self.digest, self.folder.name)

    def within(self, folder: Path, token: str) -> Submission:
        """The same work as the submission of this token."""
        return replace(self, command=replace(self.command, folder=str(folder / self.name / token)))

    def write_command(self) -> None:
        """What submitit loads where the job runs, for `name_command`."""
        from submitit.core.utils import DelayedSubmission  # noqa: PLC0415

        DelayedSubmission(self.command).dump(self.folder / UNNAMED)

    def note_params(self) -> None:
        """For the controllers after this one."""
        self.folder.mkdir(parents=True)
        (self.folder / PARAMS_FILE).write_text(self.params, encoding="utf-8")

    def other_params_since(self) -> str:
        """When its folder noted others; empty: these, or it is of a version that did not note them."""
        path = self.folder / PARAMS_FILE
        try:
            at = time.localtime(path.stat().st_mtime)
            same = path.read_bytes() == self.params.encode()
        except OSError:
            return ""
        return "" if same else time.strftime("%Y-%m-%d %H:%M:%S", at)

    def ask_to_end(self) -> None:
        """Its job saves and ends without a requeue; Slurm may tell it sooner."""
        with suppress(OSError):  # a full disk: it requeues itself, and is cancelled while it waits
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / CANCEL_FILE).touch()

    def remove(self) -> None:
        """It came to nothing. Without its folder a job of it would end at once."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def tidy(self) -> None:
        """The log of a job that went well stays; what submitit needed for it goes."""
        for pattern in ("*.pkl", "*submission.sh", ".submission_file_*", PARAMS_FILE):
            for path in self.folder.glob(pattern):
                with suppress(OSError):
                    path.unlink()


def can_be_followed(folder: Path, row: QueueRow) -> bool:
    """Whether a live job is at its work: with a result it has ended, and without a pickle it runs nothing.

    The pickle gets the job's name if sbatch's answer was lost. RefusedError if a folder of it is gone.
    """
    moved = not Path(row.workdir).exists()  # its processes are in this folder now, whatever it is called
    if moved or (not folder.exists() and row.state != "COMPLETING"):
        raise RefusedError(
            f"job {row.job_id} does this work already, but its folder {row.workdir if moved else folder} is"
            " gone: was the working folder moved, or that one removed? Wait until the job has ended, or run:"
            f" scancel {row.job_id}"
        )
    if read_result(folder, row.job_id) is not None:
        return False
    return name_command(folder, row.job_id)


def name_command(folder: Path, job_id: str) -> bool:
    """As submitit looks for it, which waits for it a minute; False if there is none. UnreachableError."""
    named = folder / f"{job_id}_submitted.pkl"
    try:
        with suppress(FileNotFoundError):
            (folder / UNNAMED).rename(named)
    except OSError as error:
        said = f"job {job_id} was submitted, but its files in {folder} cannot be written: {error}"
        raise UnreachableError(said) from None
    return named.exists()
