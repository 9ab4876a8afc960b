"""Slurm, asked: its own commands with formats and deadlines of ours, their answers as values."""

from trainrelay.slurm.ask import ask, installed
from trainrelay.slurm.environment import scrubbed
from trainrelay.slurm.flags import sbatch_flags, slurm_resources
from trainrelay.slurm.hardware import Node, Partition, gpus_of, minutes, nodes, partitions
from trainrelay.slurm.jobs import Job, live_jobs, own_job
from trainrelay.slurm.queue import Queue, Waiting, job_name
from trainrelay.slurm.starts import Start, could_start, start_of

__all__ = [
    "Job",
    "Node",
    "Partition",
    "Queue",
    "Start",
    "Waiting",
    "ask",
    "could_start",
    "gpus_of",
    "installed",
    "job_name",
    "live_jobs",
    "minutes",
    "nodes",
    "own_job",
    "partitions",
    "sbatch_flags",
    "scrubbed",
    "slurm_resources",
    "start_of",
]
