"""From a job's resources, as Snakemake users write them, to sbatch's options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.extra import extra_options

GpuDialect = Literal["gres", "gpus-per-node", "gres-constraint"]

_GRES = re.compile(r"^\w+(:[\w.-]+)?(:\d+[TGMK]?)?$")
_MODEL = re.compile(r"^[\w.-]+$")
# Names that look right and that Slurm or another executor reads in another way.
_MISSPELT = ("gpus", "gpus_per_node", "gpus_per_task", "num_gpus", "ngpus", "nvidia_gpu")
SIGNAL_DELAY_S = 120  # unless a resource says otherwise
LEAST_DELAY_S = 10


@dataclass(frozen=True)
class Gpus:
    """GPUs per node; `gres` holds what a user spelled out, otherwise `number` and `model` count."""

    number: int = 0
    model: str = ""
    gres: str = ""

    def flags(self, dialect: GpuDialect) -> dict[str, str]:
        """sbatch's long options without their dashes."""
        if self.gres:
            return {"gres": self.gres}
        if not self.number:
            return {}
        typed = f"{self.model}:{self.number}" if self.model else str(self.number)
        if dialect == "gpus-per-node":
            return {"gpus-per-node": typed}
        if dialect == "gres-constraint" and self.model:
            return {"gres": f"gpu:{self.number}", "constraint": self.model}
        return {"gres": f"gpu:{typed}"}


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
    signal_delay_s: int = SIGNAL_DELAY_S  # how long before its time limit it is warned


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
        gpu_dialect=dialect_of("gpu_dialect=", said) if (said := text(resources, "gpu_dialect")) else None,
        legs=count(resources, "slurm_legs") or 1,
        setup=text(resources, "slurm_setup"),
        signal_delay_s=count(resources, "slurm_signal_delay_s", LEAST_DELAY_S) or SIGNAL_DELAY_S,
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


def gpus_of(resources: Mapping[str, Any]) -> Gpus:
    """RequestError for a spelling that asks for something else than it says, with the right one."""
    number, model = count(resources, "gpu", least=0), text(resources, "gpu_model")
    gres = text(resources, "gres")
    _refuse_misspelt(resources, model)
    if gres:
        return _spelt_out(gres, number, model)
    if model and number is None:
        raise RequestError(f"gpu_model={model} without a number of GPUs: write gpu=8, gpu_model={model}")
    if model and not _MODEL.match(model):
        raise RequestError(f"gpu_model={model} is not the name of a GPU: write it as gpu_model=a40")
    return Gpus(number or 0, model)


def dialect_of(name: str, said: str) -> GpuDialect:
    """How GPUs are asked for."""
    return cast(GpuDialect, one_of(name, said, get_args(GpuDialect)))


def one_of(name: str, said: str, allowed: Iterable[str]) -> str:
    """The same if it is allowed; RequestError names it behind `name`."""
    if said not in allowed:
        raise RequestError(f"unknown {name}{said}; choose {', '.join(allowed)}")
    return said


def _refuse_misspelt(resources: Mapping[str, Any], model: str) -> None:
    for name in _MISSPELT:
        if (number := resources.get(name)) is not None:
            right = _spelling(number, model)
            raise RequestError(f"{name}={number} would not ask Slurm for these GPUs: write {right}")


def _spelling(number: Any, model: str) -> str:
    return f"gpu={number}" + (f", gpu_model={model}" if model else "")


def _spelt_out(gres: str, number: int | None, model: str) -> Gpus:
    if not all(_GRES.match(part) for part in gres.split(",")):
        raise RequestError(f"gres={gres} is not NAME:NUMBER or NAME:TYPE:NUMBER: write it as gres=gpu:a40:8")
    asked = next((words for part in gres.split(",") if (words := part.split(":"))[0] == "gpu"), None)
    if asked and (number is not None or model):
        counted = next(filter(str.isdigit, asked), number or 1)
        kind = next((word for word in asked[1:] if not word.isdigit()), model)
        raise RequestError(
            f"gres={gres} and {'gpu_model' if model else 'gpu'} ask for the GPUs twice:"
            f" write {_spelling(counted, kind)} alone"
        )
    if not asked and (number or model):
        raise RequestError(
            f"gres={gres} beside gpu={number}: write both into one,"
            f" gres=gpu:{model + ':' if model else ''}{number or 1},{gres}"
        )
    return Gpus(gres=gres)


def delay_within(runtime_min: int | None, signal_delay_s: int) -> int:
    """Seconds of warning; at most a quarter of the limit, or the warning would come at the start."""
    if runtime_min is None:
        return signal_delay_s
    return max(LEAST_DELAY_S, min(signal_delay_s, runtime_min * 60 // 4))


def sbatch_flags(request: Request, dialect: GpuDialect = "gres") -> tuple[str, ...]:
    """The flags of sbatch, without what names a job and its files; `dialect`: where the job names none."""
    gpu_flags = request.gpus.flags(request.gpu_dialect or dialect)
    asked: dict[str, str | bool | int | None] = {
        "nodes": request.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": request.cpus_per_task,
        "time": request.runtime_min,
        "signal": f"USR2@{delay_within(request.runtime_min, request.signal_delay_s)}",
        "partition": request.partition,
        "account": request.account,
        "qos": request.qos,
        **gpu_flags,
        "constraint": _both(request.constraint, gpu_flags.get("constraint", "")),
        "mem": f"{request.mem_mb}M" if request.mem_mb else "" if request.mem_mb is None else "0",
        "mem-per-cpu": f"{request.mem_mb_per_cpu}M" if request.mem_mb_per_cpu else "",
        "array": f"1-{request.legs}%1" if request.legs > 1 else "",
        "requeue": "no-requeue" not in request.extra,
        **request.extra,
    }
    return tuple(
        f"--{name}" if value is True else f"--{name}={value}" for name, value in asked.items() if value
    )


def _both(one: str, other: str) -> str:
    if one and other:
        return f"({one})&{other}" if "|" in one else f"{one}&{other}"
    return one or other


def count(resources: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    """A whole number; None if it is not set."""
    value = resources.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RequestError(f"{name}={value} is not a number: write a whole one, at least {least}")
    return value


def text(resources: Mapping[str, Any], name: str) -> str:
    """One line; empty if it is not set."""
    value = resources.get(name)
    line = "" if value is None else str(value).strip()
    if not line.isprintable():  # in a batch script a new line would be a new option
        raise RequestError(f"{name}={line!r} holds a control character: write it on one plain line")
    return line
