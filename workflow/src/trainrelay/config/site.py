"""site.yaml: what is true of a cluster and your account on it, and so is never in config.yaml."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from snakemake_executor_plugin_submitit.errors import RequestError
from snakemake_executor_plugin_submitit.extra import options, refused
from snakemake_executor_plugin_submitit.resources import LEAST_DELAY_S, SIGNAL_DELAY_S, GpuDialect
from trainrelay.config.file import load_as
from trainrelay.config.models import Model, NonEmpty
from trainrelay.errors import ConfigError

SITE_FILE = Path("site.yaml")
SITE_VARIABLE = "TRAINRELAY_SITE"  # the one that was submitted, for jobs and a controller that starts again

# What belongs to another key than `sbatch`.
_GPUS = "gpu and gpu_model of the stage's resources; gpu_dialect is how they are asked for"
INSTEAD = {
    **{name: name for name in ("account", "constraint", "partition", "qos")},
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu"), "cpus_per_gpu of the stage's resources"),
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task", "gres"), _GPUS),
    "mem": "mem_gb of the stage's resources; mem_gb: all is the whole node's",
    **dict.fromkeys(("mem-per-cpu", "mem-per-gpu"), "mem_gb of the stage's resources"),
    "nodes": "nodes of the stage's resources",
    "time": "runtime_min of the stage's resources",
    "signal": "warn_s; the signal itself is the executor's",
}


class Controller(Model):
    """The job of `trainrelay submit`, which runs Snakemake and needs no GPU."""

    partition: NonEmpty | None = None
    """Its Slurm partition; null: the trainings' one."""
    qos: NonEmpty | None = None
    """Its quality of service; null: the trainings' one."""
    # Slurm warns up to two minutes before the limit, and the job needs time to start again.
    time_min: int | None = Field(default=None, ge=5, le=10**9)
    """Minutes after which it restarts, under its job id; null: a day, or the partition's limit."""
    mem_gb: float | None = Field(default=None, gt=0, le=1e9)
    """Its memory in GB; null: 4."""


class Site(Model):
    """site.yaml. What a stage's own resources say goes before it."""

    partition: NonEmpty | None = None
    """Slurm partition of the trainings; null: the cluster's default."""
    account: NonEmpty | None = None
    """Slurm account."""
    qos: NonEmpty | None = None
    """Slurm quality of service."""
    constraint: NonEmpty | None = None
    """Node features that every training needs."""
    mail_user: NonEmpty | None = None
    """Whom Slurm writes to."""
    mail_type: NonEmpty = "FAIL"
    """What for: END, FAIL, TIME_LIMIT_80, ... (only with mail_user)."""
    gpu_dialect: GpuDialect = "gres"
    """How GPUs are asked for: gres (--gres=gpu:a40:8), gpus-per-node (--gpus-per-node=a40:8) or
    gres-constraint (--gres=gpu:8 --constraint=a40)."""
    sbatch: tuple[NonEmpty, ...] = Field(default=(), strict=False)
    """Other options of sbatch, as one would type them, e.g. --reservation=deep."""
    warn_s: int = Field(default=SIGNAL_DELAY_S, ge=LEAST_DELAY_S, le=65535)
    """Seconds before its time limit at which a training's stop is requested: more for a slow checkpoint."""
    nodes_avoid_h: float = Field(default=24.0, ge=0, le=8760)
    """Hours without a node on which a run's trainings failed twice for a reason of the node's; 0: none."""
    notify: tuple[NonEmpty, ...] = Field(default=(), strict=False)
    """A command, word by word and without a shell, that is given one JSON object on its standard input when a
    stage needs you, diverged, made no progress, fell back to another backend, is complete or promoted."""
    setup: tuple[NonEmpty, ...] = Field(default=(), strict=False)
    """Shell lines that every job runs first, e.g. module load cuda/11.8."""
    controller: Controller = Controller()
    """What the job of `trainrelay submit` asks for instead."""

    def slurm_extra(self) -> str | None:
        """Its sbatch options in one line; None if there are none."""
        mail = (f"--mail-user={self.mail_user}", f"--mail-type={self.mail_type}") if self.mail_user else ()
        return " ".join((*mail, *self.sbatch)) or None

    def without(self, nodes: Sequence[str]) -> Site:
        """The same without these nodes, beside those of the last --exclude in `sbatch`."""
        own = [str(value) for name, value in options(self.slurm_extra() or "") if name == "exclude"]
        exclude = [f"--exclude={','.join([*own[-1:], *nodes])}"] if nodes else []
        return self.model_copy(update={"sbatch": (*self.sbatch, *exclude)})

    def refused_options(self) -> list[str]:
        """A sentence for each of its sbatch options that no job may be given this way."""
        try:
            names = [name for name, _ in options(self.slurm_extra() or "")]
        except RequestError as error:
            return [f"sbatch: {error}"]
        return [f"sbatch: {why}" for why in refused(names, INSTEAD)]


def load_site(path: Path | None = None) -> Site:
    """The site file's content, an empty one if there is none; ConfigError lists every problem."""
    path = path or Path(os.environ.get(SITE_VARIABLE, SITE_FILE))
    there = path.suffix == ".json" or os.path.lexists(path)
    site = load_as(Site, path, "site.example.yaml") if there else Site()
    if refused := site.refused_options():
        raise ConfigError(str(path), refused)
    return site
