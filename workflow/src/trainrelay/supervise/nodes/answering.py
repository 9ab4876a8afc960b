"""Whether every node of a job answers: only then is a start over all of them worth an attempt.

When a node is lost its ranks vanish at once, and Slurm notices minutes later. Attempts in between would save
no new checkpoint, and count as such.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trainrelay.errors import Interrupted, SlurmError
from trainrelay.slurm import ask
from trainrelay.supervise.nodes.allocation import steps_of
from trainrelay.trainers import LaunchRequest, srun

_ANSWER_S = 60.0  # a node that is there answers in a second
_AGAIN_S = 5.0
_LOOK_S = 0.2
# Slurm gives up a node that does not respond after SlurmdTimeout, 5 minutes unless the site says otherwise.
_PATIENCE_S = 1200.0


def wait_for_nodes(request: LaunchRequest, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
    """Returns once every node answers and no earlier step of this stage is left; at once on one node.

    A node that stays away ends the job, and with it us: Slurm starts it again elsewhere. Interrupted where
    `stopped` says so, or where nothing has happened after 20 minutes.
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
