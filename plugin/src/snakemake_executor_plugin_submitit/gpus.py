"""How many GPUs of which model a job asks for, and how that is spelled for a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.values import count, text

GpuDialect = Literal["gres", "gpus-per-node", "gres-constraint"]

_GRES = re.compile(r"^\w+(:[\w.-]+)?(:\d+[TGMK]?)?$")
_MODEL = re.compile(r"^[\w.-]+$")
# Names that look right and that Slurm or another executor reads in another way.
_MISSPELT = ("gpus", "gpus_per_node", "gpus_per_task", "num_gpus", "ngpus", "nvidia_gpu")


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


def dialect_of(resources: Mapping[str, Any]) -> GpuDialect | None:
    """How this job's GPUs are asked for, if a resource says so."""
    said = text(resources, "gpu_dialect")
    if said and said not in get_args(GpuDialect):
        raise RequestError(f"unknown gpu_dialect={said}; choose {', '.join(get_args(GpuDialect))}")
    return cast(GpuDialect, said) if said else None


def _refuse_misspelt(resources: Mapping[str, Any], model: str) -> None:
    for name in _MISSPELT:
        if resources.get(name) is not None:
            right = f"gpu={resources[name]}" + (f", gpu_model={model}" if model else "")
            raise RequestError(f"{name}={resources[name]} would not ask Slurm for these GPUs: write {right}")


def _spelt_out(gres: str, number: int | None, model: str) -> Gpus:
    parts = gres.split(",")
    if not all(_GRES.match(part) for part in parts):
        raise RequestError(f"gres={gres} is not NAME:NUMBER or NAME:TYPE:NUMBER: write it as gres=gpu:a40:8")
    asks_gpu = any(part.split(":")[0] == "gpu" for part in parts)
    if asks_gpu and (number is not None or model):
        raise RequestError(
            f"gres={gres} and {'gpu_model' if model else 'gpu'} ask for the GPUs twice:"
            f" write {_once(parts, number, model)} alone"
        )
    if not asks_gpu and (number or model):
        raise RequestError(
            f"gres={gres} beside gpu={number}: write both into one,"
            f" gres=gpu:{model + ':' if model else ''}{number or 1},{gres}"
        )
    return Gpus(gres=gres)


def _once(parts: list[str], number: int | None, model: str) -> str:
    _, *rest = next(part for part in parts if part.split(":")[0] == "gpu").split(":")
    counted = next((part for part in rest if part.isdigit()), str(number or 1))
    kind = next((part for part in rest if not part.isdigit()), model)
    return f"gpu={counted}" + (f", gpu_model={kind}" if kind else "")
