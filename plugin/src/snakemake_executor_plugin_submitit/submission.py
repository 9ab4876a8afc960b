"""One submission: what it runs, and the files in its folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.command import Command
from snakemake_executor_plugin_submitit.errors import RefusedError
from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.results import read_result

if TYPE_CHECKING:
    import submitit

_UNNAMED = re.compile(r"[0-9a-f]{32}")  # submitit names a pickle after its job once sbatch has answered


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
