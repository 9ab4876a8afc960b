"""From a job's resources, as Snakemake users write them, to sbatch's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.extra import extra_options
from snakemake_executor_plugin_submitit.gpus import GpuDialect, Gpus, dialect_of, gpus_of
from snakemake_executor_plugin_submitit.legs import array_of
from snakemake_executor_plugin_submitit.values import count, text

SIGNAL_DELAY_S = 120  # unless a setting says otherwise
_LEAST_DELAY_S = 10


@dataclass(frozen=True)
class Request:
    """What one job asks for. Empty and None: whatever the cluster gives by default."""

    gpus: Gpus
    cpus_per_task: int
    nodes: int = 1
    mem_mb: int | None = None  # per node
    mem_mb_per_cpu: int | None = None
    runtime_min: int | None = None
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    extra: Mapping[str, str | bool] = field(default_factory=dict)  # sbatch's long options
    gpu_dialect: GpuDialect | None = None  # None: the setting's
    legs: int = 1  # more: an array of so many tasks, one after the other
    setup: str = ""  # a shell line that runs first, after the setting's


def request_of(resources: Mapping[str, Any], threads: int) -> Request:
    """RequestError, a sentence, for what Slurm would read differently from what it says."""
    _refuse_tasks(resources)
    mem_mb_per_cpu = count(resources, "mem_mb_per_cpu")
    return Request(
        gpus=gpus_of(resources),
        cpus_per_task=count(resources, "cpus_per_task") or max(1, threads),
        nodes=count(resources, "nodes") or 1,
        # Snakemake fills mem_mb in by default: what a user wrote per CPU goes before it.
        mem_mb=None if mem_mb_per_cpu else count(resources, "mem_mb", least=0),
        mem_mb_per_cpu=mem_mb_per_cpu,
        runtime_min=count(resources, "runtime"),
        partition=text(resources, "slurm_partition"),
        account=text(resources, "slurm_account"),
        qos=text(resources, "qos"),
        constraint=text(resources, "constraint"),
        extra=extra_options(text(resources, "slurm_extra")),
        gpu_dialect=dialect_of(resources),
        legs=count(resources, "slurm_legs") or 1,
        setup=text(resources, "slurm_setup"),
    )


def _refuse_tasks(resources: Mapping[str, Any]) -> None:
    for name in ("tasks", "tasks_per_node", "tasks_per_gpu", "ntasks"):
        if resources.get(name) not in (None, 1):
            raise RequestError(
                f"{name}={resources[name]} would start the job that many times: leave it out, each job is one"
                " process that starts its own ranks (torchrun), and write cpus_per_task for its cores"
            )
    if resources.get("mpi"):
        raise RequestError(
            "mpi: this executor starts one process per job; run MPI rules with another executor"
        )


def submitit_parameters(request: Request, name: str, comment: str, signal_delay_s: int) -> dict[str, Any]:
    """What every cluster of submitit gets, named as its Slurm executor names it."""
    return {
        "job_name": name,
        "comment": comment,
        "time": request.runtime_min,
        "nodes": request.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": request.cpus_per_task,
        "signal_delay_s": delay_within(request.runtime_min, signal_delay_s),
        "stderr_to_stdout": True,
        # One process for the whole job, on its first node. srun no longer inherits --cpus-per-task.
        "srun_args": ["--nodes=1", "--ntasks=1", f"--cpus-per-task={request.cpus_per_task}"],
    }


def delay_within(runtime_min: int | None, signal_delay_s: int) -> int:
    """Seconds of warning; at most a quarter of the limit, or the warning would come at the start."""
    if runtime_min is None:
        return signal_delay_s
    return max(_LEAST_DELAY_S, min(signal_delay_s, runtime_min * 60 // 4))


def sbatch_options(request: Request, dialect: GpuDialect) -> dict[str, str | bool]:
    """The other options of sbatch, long and without dashes; `dialect`: where the job names none."""
    gpu_flags = request.gpus.flags(request.gpu_dialect or dialect)
    plain: dict[str, str | bool] = {
        "partition": request.partition,
        "account": request.account,
        "qos": request.qos,
        **gpu_flags,
        "constraint": _both(request.constraint, gpu_flags.get("constraint", "")),
        "mem": f"{request.mem_mb}M" if request.mem_mb else "" if request.mem_mb is None else "0",
        "mem-per-cpu": f"{request.mem_mb_per_cpu}M" if request.mem_mb_per_cpu else "",
        "array": array_of(request.legs),
        "requeue": "no-requeue" not in request.extra,
    }
    return {**{name: value for name, value in plain.items() if value}, **request.extra}


def sbatch_flags(
    request: Request, dialect: GpuDialect, signal_delay_s: int = SIGNAL_DELAY_S
) -> tuple[str, ...]:
    """The same with submitit's own, as you would type them; without what names a job and its files."""
    asked: dict[str, str | bool | int | None] = {
        "nodes": request.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": request.cpus_per_task,
        "time": request.runtime_min,
        "signal": f"USR2@{delay_within(request.runtime_min, signal_delay_s)}",
        **sbatch_options(request, dialect),
    }
    return tuple(
        f"--{name}" if value is True else f"--{name}={value}" for name, value in asked.items() if value
    )


def _both(one: str, other: str) -> str:
    if one and other:
        return f"({one})&{other}" if "|" in one else f"{one}&{other}"
    return one or other
