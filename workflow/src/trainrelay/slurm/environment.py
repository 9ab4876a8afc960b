"""The environment of a command that must not take part in the allocation it may be started from (pure)."""

from __future__ import annotations

from collections.abc import Mapping

# What Slurm sets for a job and its tasks, and the defaults that a user may set for its commands.
_SLURM = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_")
_SHOWN = ("SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_", "SLURM_TIME_FORMAT")
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")


def inside_allocation(environment: Mapping[str, str]) -> bool:
    """Whether a process with this environment is part of a Slurm job."""
    return "SLURM_JOB_ID" in environment


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Without Slurm's variables, except where its configuration is; the devices of a job go with the job."""
    away = (*_SLURM, *_SHOWN, *(_DEVICES if inside_allocation(environment) else ()))
    return {name: value for name, value in environment.items() if _stays(name, away)}


def for_asking(environment: Mapping[str, str]) -> dict[str, str]:
    """As scrubbed inside an allocation; outside of one, a user's SBATCH_ACCOUNT and the like stay."""
    if inside_allocation(environment):
        return scrubbed(environment)
    return {name: value for name, value in environment.items() if not name.startswith(_SHOWN)}


def _stays(name: str, away: tuple[str, ...]) -> bool:
    return name == "SLURM_CONF" or not name.startswith(away)
