"""What a training asks of Slurm: as resources of Snakemake's executors, and as flags of sbatch (pure)."""

from __future__ import annotations

from snakemake_executor_plugin_submitit import resources
from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.resources import Request
from trainrelay.config import Resources, Site
from trainrelay.errors import UserError


def slurm_resources(asked: Resources, site: Site, legs: int = 1) -> dict[str, int | str]:
    """In the names of Snakemake's executors; the site fills what a stage leaves open."""
    named: dict[str, int | str | None] = {
        "nodes": asked.nodes,
        "gpu": asked.gpu,
        "gpu_model": asked.gpu_model,
        "mem_mb": asked.mem_mb,
        "runtime": asked.runtime_min,
        "slurm_partition": asked.partition or site.partition,
        "slurm_account": asked.account or site.account,
        "qos": asked.qos or site.qos,
        "constraint": asked.constraint or site.constraint,
        "gpu_dialect": site.gpu_dialect if asked.gpu else None,
        "slurm_extra": site.slurm_extra(),
        "slurm_setup": "; ".join(site.setup) or None,
        "slurm_legs": legs if legs > 1 else None,
        "slurm_signal_delay_s": site.warn_s,
    }
    return {key: value for key, value in named.items() if value is not None}


def request_of(asked: Resources, site: Site, cpus: int, legs: int = 1) -> Request:
    """What the executor plugin submits one training with; `cpus` cores per node. UserError."""
    try:
        return resources.request_of(slurm_resources(asked, site, legs), cpus)
    except RequestError as error:
        raise UserError(f"resources of a stage, or site.yaml: {error}") from None
