"""What a user may set: --submitit-cluster and so on, or the same keys in a profile."""

# No `from __future__ import annotations` and no `str | None`: Snakemake reads the types of these fields.

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.resources import SIGNAL_DELAY_S, GpuDialect, dialect_of, one_of


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text, "env_var": True, "required": False})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]  # the interface is not typed
    """Settings of the submitit executor."""

    cluster: Optional[str] = _setting(
        "slurm",
        "Where jobs run: slurm; local (child processes of this machine that survive Snakemake); debug (inside"
        " Snakemake itself, one after the other).",
    )
    folder: Optional[str] = _setting(
        ".snakemake/submitit", "Folder for job logs and results, seen by all nodes."
    )
    signal_delay_s: Optional[int] = _setting(
        SIGNAL_DELAY_S, "How many seconds before its time limit a job is warned, so that it can save."
    )
    poll_interval_s: Optional[int] = _setting(
        15,
        "Seconds between two squeue calls, one for all jobs. The end of a job is seen at once by its result"
        " file, however long this is.",
    )
    gpu_dialect: Optional[str] = _setting(
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


@dataclass(frozen=True)
class Settings:
    """The settings, checked and with their defaults."""

    cluster: str
    folder: Path  # absolute
    signal_delay_s: int
    poll_interval_s: int
    gpu_dialect: GpuDialect
    setup: tuple[str, ...]  # shell lines
    direct: bool  # never in Snakemake's own process, whose environment would change


def checked(given: ExecutorSettings) -> Settings:
    """RequestError for a value that means nothing, with the ones that do."""
    return Settings(
        cluster=one_of("--submitit-cluster ", given.cluster or "slurm", ("slurm", "local", "debug")),
        folder=Path(given.folder or ".snakemake/submitit").expanduser().absolute(),
        signal_delay_s=_at_least("signal-delay-s", given.signal_delay_s, SIGNAL_DELAY_S, 10),
        poll_interval_s=_at_least("poll-interval-s", given.poll_interval_s, 15, 1),
        gpu_dialect=dialect_of("--submitit-gpu-dialect ", given.gpu_dialect or "gres"),
        setup=tuple((given.setup or "").splitlines()),
        direct=bool(given.direct) and given.cluster != "debug",
    )


def _at_least(name: str, value: Optional[int], default: int, least: int) -> int:
    number = default if value is None else int(value)
    if number < least:
        raise RequestError(f"--submitit-{name} {number}: must be at least {least}")
    return number
