"""Slurm, asked: its own commands with formats and deadlines of ours, their answers as values."""

from trainrelay.cluster.ask import ask, installed
from trainrelay.cluster.environment import scrubbed
from trainrelay.cluster.hardware import Node, Partition, gpus_of, minutes, nodes, partitions
from trainrelay.cluster.jobs import Job, live_jobs, own_job
from trainrelay.cluster.queue import Queue, Waiting, job_name
from trainrelay.cluster.starts import Start, could_start, start_of

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
    "scrubbed",
    "start_of",
]
