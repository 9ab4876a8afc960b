"""What Slurm's variables in an environment say, and environments without them (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# A user's own defaults for Slurm's commands: SQUEUE_PARTITION and SLURM_CLUSTERS hide jobs.
DEFAULTS = (
    *("SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SCONTROL_"),
    *("SLURM_TIME_FORMAT", "SLURM_CLUSTERS"),
    # Exported functions of a shell, which would run instead of what a job's script calls.
    *(f"BASH_FUNC_{name}%%" for name in ("srun", "scancel", "trap", "unset", "export", "echo", "exit")),
    *(f"BASH_FUNC_{name}%%" for name in ("cd", "ln", "[")),
)
# What a job gives its processes: a job submitted there must not get its tasks, memory or devices.
_JOB = (
    *("SLURM_", "SLURMD_", "SUBMITIT_"),
    *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"),
)
_STAYS = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"}  # where Slurm is, and who asks
# A command that writes nodes there (gpu03,gpu04) and fails is run again in a job without them.
EXCLUDE_VARIABLE = "SUBMITIT_EXECUTOR_EXCLUDE"
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class OwnRun:
    """A run of a Slurm job, as the job's own environment tells it."""

    job_id: str  # empty: outside of Slurm
    restarts: int  # its requeues until then
    nodes: str  # as Slurm writes them: gpu[03-04]
    array_id: str = ""  # of the array that it is a task of
    task: str = ""

    @property
    def name(self) -> str:
        """What means this job to Slurm's commands; the id of an array's last task means all of them."""
        return f"{self.array_id}_{self.task}" if self.array_id else self.job_id


def own_run(environment: Mapping[str, str]) -> OwnRun:
    """The run that a process with this environment belongs to."""
    job_id, restarts = environment.get("SLURM_JOB_ID", ""), environment.get("SLURM_RESTART_COUNT", "")
    array_id, task = environment.get("SLURM_ARRAY_JOB_ID", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
    leg = (array_id, task) if _NUMBER.fullmatch(array_id) and _NUMBER.fullmatch(task) else ("", "")
    nodes = environment.get("SLURM_JOB_NODELIST") or environment.get("SLURMD_NODENAME", "")
    return OwnRun(
        job_id if _NUMBER.fullmatch(job_id) else "",
        int(restarts) if _NUMBER.fullmatch(restarts) else 0,
        nodes[:200],
        *leg,
    )


def for_asking(environment: Mapping[str, str]) -> dict[str, str]:
    """Without a user's defaults; what the job around gives stays, srun starts its steps there."""
    return {name: value for name, value in environment.items() if not name.startswith(DEFAULTS)}


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Without Slurm's variables, except where it is and who asks; a job's devices go with the job."""
    away = _JOB if own_run(environment).job_id else ("SLURM_", "SLURMD_")
    kept = for_asking(environment).items()
    return {name: value for name, value in kept if name in _STAYS or not name.startswith(away)}


def own_defaults(environment: Mapping[str, str]) -> list[str]:
    """What a user set that would change a submitted job; inside of one Slurm itself sets all but SBATCH_*."""
    ours = ("SBATCH_",) if own_run(environment).job_id else ("SBATCH_", "SRUN_", "SLURM_")
    gone = environment.keys() - scrubbed(environment) - {"SLURM_TIME_FORMAT"}
    return sorted(name for name in gone if name.startswith(ours) and "_BIND" not in name)
