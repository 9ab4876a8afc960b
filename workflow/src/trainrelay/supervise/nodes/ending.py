"""The end of an attempt on every node that it trains on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from trainrelay.slurm import Steps
from trainrelay.supervise.process import Ending, end_all
from trainrelay.system.alive import Kin

_GONE_WITHIN_S = 30.0  # a step whose node does not answer stays until Slurm gives the node up


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
