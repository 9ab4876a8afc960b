"""A training over several nodes of one Slurm job: whether there are so many, whether they answer, its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from trainrelay.errors import Interrupted, SlurmError
from trainrelay.slurm import own_run
from trainrelay.slurm.ask import ask
from trainrelay.slurm.steps import Steps
from trainrelay.supervise.process import Ending, end_all
from trainrelay.system.alive import Kin
from trainrelay.trainers import LaunchRequest, srun

_TYPE = "run: snakemake --profile slurm"
_ANSWER_S = 60.0  # a node that is there answers in a second
_AGAIN_S = 5.0
_LOOK_S = 0.2
# Slurm gives up a node that does not respond after SlurmdTimeout, 5 minutes unless the site says otherwise.
_PATIENCE_S = 1200.0
_GONE_WITHIN_S = 30.0  # a step whose node does not answer stays until Slurm gives the node up


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


def wait_for_nodes(request: LaunchRequest, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
    """Returns once every node answers and no earlier step of this stage is left; at once on one node.

    When a node is lost its ranks vanish at once, and Slurm notices minutes later: attempts in between would
    save no new checkpoint, and count as such. A node that stays away ends the job, and with it us: Slurm
    starts it again elsewhere. Interrupted where `stopped` says so, or where nothing has happened after 20
    minutes.
    """
    until_s, silent = time.monotonic() + _PATIENCE_S, None
    while request.nodes > 1 and (found := _why_no_answer(request)):
        if silent is None:
            say(f"warning: {found}; waiting for it, or for Slurm to start this job again without it")
        silent = found
        _pause(stopped)
        if stopped() or time.monotonic() >= until_s:
            raise Interrupted(f"not every node of this job answers: {silent}; a relaunch resumes")
    if silent is not None:
        say(f"all {request.nodes} nodes answer again")


def _pause(stopped: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _AGAIN_S
    while time.monotonic() < until_s and not stopped():
        time.sleep(_LOOK_S)


def _why_no_answer(request: LaunchRequest) -> str | None:
    """Why a step over all nodes failed; None if it ran on each of them."""
    steps = steps_of(request)
    if steps is not None and (left := steps.kill(_AGAIN_S)):
        return f"an earlier step does not end: {', '.join(left)}"
    try:
        ask([*srun(request), "true"], deadline_s=_ANSWER_S)
    except SlurmError as error:
        return str(error)
    return None


def end_everywhere(
    steps: Steps | None, kin: Kin, grace_s: float, hurry: Callable[[], bool] = lambda: False
) -> Ending:
    """As `end_all`; on other nodes through the Slurm steps that their processes belong to.

    The local srun ends when the last process of its step has, so waiting for it is waiting for all nodes.
    """
    if steps is None:
        return end_all(kin, grace_s, hurry)
    told = grace_s > 0 and steps.terminate()
    ending = end_all(kin, grace_s, hurry, told=told)
    return replace(ending, steps_left=steps.kill(_GONE_WITHIN_S))
