"""What a training asks of Slurm: as resources of Snakemake's executors, and as flags of sbatch (pure)."""

from __future__ import annotations

from trainrelay.config import Resources, Site


def slurm_resources(asked: Resources, site: Site) -> dict[str, int | str]:
    """In the names of Snakemake's executors; the site fills what a stage leaves open."""
    named: dict[str, int | str | None] = {
        "nodes": asked.nodes,
        "gpu": asked.gpu,
        "gpu_model": asked.gpu_model,
        "mem_mb": round(asked.mem_gb * 1000) if asked.mem_gb else None,
        "runtime": asked.runtime_min,
        "slurm_partition": asked.partition or site.partition,
        "slurm_account": asked.account or site.account,
        "qos": asked.qos or site.qos,
        "constraint": asked.constraint or site.constraint,
        "gpu_dialect": site.gpu_dialect if asked.gpu else None,
        "slurm_extra": site.slurm_extra(),
        "slurm_setup": "; ".join(site.setup) or None,
    }
    return {key: value for key, value in named.items() if value is not None}


def sbatch_flags(asked: Resources, site: Site, cpus: int) -> tuple[str, ...]:
    """The flags of sbatch for one training, per node; `cpus` cores."""
    flags: dict[str, int | str | None] = {
        "partition": asked.partition or site.partition,
        "account": asked.account or site.account,
        "qos": asked.qos or site.qos,
        "nodes": asked.nodes,
        "ntasks-per-node": 1 if asked.nodes > 1 else None,
        **_gpus(asked, site),
        "cpus-per-task": cpus,
        "mem": f"{round(asked.mem_gb * 1000)}M" if asked.mem_gb else None,
        "time": asked.runtime_min,
    }
    known = tuple(f"--{name}={value}" for name, value in flags.items() if value is not None)
    return (*known, *(site.slurm_extra() or "").split())


def _gpus(asked: Resources, site: Site) -> dict[str, str | None]:
    constraint = asked.constraint or site.constraint
    if not asked.gpu:
        return {"constraint": constraint}
    typed = f"{asked.gpu_model}:{asked.gpu}" if asked.gpu_model else str(asked.gpu)
    if site.gpu_dialect == "gpus-per-node":
        return {"gpus-per-node": typed, "constraint": constraint}
    if site.gpu_dialect == "gres-constraint" and asked.gpu_model:
        both = f"{constraint}&{asked.gpu_model}" if constraint else asked.gpu_model
        return {"gres": f"gpu:{asked.gpu}", "constraint": both}
    return {"gres": f"gpu:{typed}", "constraint": constraint}
