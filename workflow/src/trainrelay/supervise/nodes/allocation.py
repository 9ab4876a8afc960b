"""The Slurm job around this process: whether ranks may start on so many nodes, and its steps of a stage."""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainrelay.slurm import Steps, own_run
from trainrelay.trainers import LaunchRequest

_TYPE = "run: snakemake --profile slurm"


def nodes_missing(nodes: int, environment: Mapping[str, str]) -> str | None:
    """Why a training over `nodes` nodes cannot be started from here, and what to run; None: it can.

    The supervisor must run on a node of the job itself, since the ranks meet where it runs.
    """
    if nodes == 1:
        return None
    asked = f"resources.nodes is {nodes}, and"
    if not own_run(environment).job_id or "SLURMD_NODENAME" not in environment:
        return f"{asked} this is not a node of a Slurm job; {_TYPE}"
    held = environment.get("SLURM_JOB_NUM_NODES", "1")
    if not (held.isascii() and held.isdecimal() and int(held) >= nodes):
        return f"{asked} this Slurm job holds {held}; end it and {_TYPE}, or set nodes to {held}"
    if environment.get("SLURM_NODEID", "0") != "0":
        return f"{asked} this is not the first node of its Slurm job; {_TYPE}"
    return None


def steps_of(request: LaunchRequest) -> Steps | None:
    """Where a training's processes on other nodes are found; None for a training on one node.

    The name is the stage's: so a supervisor also finds the step that one before it left.
    """
    job_id = own_run(os.environ).job_id
    return Steps(job_id, request.step_name) if request.nodes > 1 and job_id else None
