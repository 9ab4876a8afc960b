"""Slurm: asked, read and given orders through the executor plugin's own modules; nobody else asks it."""

from snakemake_executor_plugin_submitit.environment import EXCLUDE_VARIABLE, own_defaults, own_run, scrubbed
from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.slurm import QueueRow, unconfigured
from snakemake_executor_plugin_submitit.status import ENDED, RUNNING
from trainrelay.slurm.ask import (
    accounting,
    ask,
    could_start,
    installed,
    live_jobs,
    node_lost,
    own_job,
    ping,
    requeue,
    sbatch,
    seconds,
    setting,
    shown_job,
    states_of,
)
from trainrelay.slurm.cluster import Node, Partition, WallLimits, nodes, partitions, wall_limits
from trainrelay.slurm.flags import request_of, sbatch_flags, slurm_resources
from trainrelay.slurm.queue import CONTROLLER, Queue, job_name, why
from trainrelay.slurm.steps import Steps

__all__ = [
    "CONTROLLER",
    "ENDED",
    "EXCLUDE_VARIABLE",
    "RUNNING",
    "Node",
    "Partition",
    "Queue",
    "QueueRow",
    "Request",
    "Steps",
    "WallLimits",
    "accounting",
    "ask",
    "could_start",
    "installed",
    "job_name",
    "live_jobs",
    "node_lost",
    "nodes",
    "own_defaults",
    "own_job",
    "own_run",
    "partitions",
    "ping",
    "request_of",
    "requeue",
    "sbatch",
    "sbatch_flags",
    "scrubbed",
    "seconds",
    "setting",
    "shown_job",
    "slurm_resources",
    "states_of",
    "unconfigured",
    "wall_limits",
    "why",
]
