"""What a user may set: --submitit-cluster and so on, or the same keys in a profile."""

# No `from __future__ import annotations` and no `str | None`: Snakemake reads the types of these fields.

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.resources import dialect_of, one_of


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text, "env_var": True, "required": False})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]  # the interface is not typed
    """Settings of the submitit executor."""

    cluster: str = _setting(
        "slurm",
        "Where jobs run: slurm, or local (processes of this machine that survive Snakemake).",
    )
    folder: str = _setting(".snakemake/submitit", "Folder for job logs and results, seen by all nodes.")
    poll_interval_s: int = _setting(
        15,
        "Seconds between two squeue calls, one for all jobs. The end of a job is seen at once by its result"
        " file, however long this is.",
    )
    gpu_dialect: str = _setting(
        "gres",
        "How this cluster wants GPUs to be asked for: gres (--gres=gpu:a40:8), gpus-per-node"
        " (--gpus-per-node=a40:8) or gres-constraint (--gres=gpu:8 --constraint=a40).",
    )
    setup: Optional[str] = _setting(
        None, "Shell lines that every Slurm job runs first, for example: module load cuda/11.8"
    )
    direct: bool = _setting(
        False, "Run a plain shell rule's command on the node without a second Snakemake around it."
    )


def checked(given: ExecutorSettings) -> ExecutorSettings:
    """With an absolute folder; RequestError for a value that means nothing, with the ones that do."""
    one_of("--submitit-cluster ", given.cluster, ("slurm", "local"))
    dialect_of("--submitit-gpu-dialect ", given.gpu_dialect)
    if given.poll_interval_s < 1:
        raise RequestError(f"--submitit-poll-interval-s {given.poll_interval_s}: must be at least 1")
    return replace(given, folder=str(Path(given.folder).expanduser().absolute()))
