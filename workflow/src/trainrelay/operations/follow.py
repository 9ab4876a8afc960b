"""A start without its own GPUs that finds the stage being trained already: it follows."""

from __future__ import annotations

import contextlib
import time

from rich.console import Console

from trainrelay.errors import Interrupted
from trainrelay.operations.end_error import end_error
from trainrelay.supervise import Claim, Display, Observer, owner_of, stop_requests
from trainrelay.system.say import say
from trainrelay.trainers import StepSeen
from trainrelay.training import state
from trainrelay.training.context import StageContext
from trainrelay.watching import StageWatch

_LOOK_S = 0.5  # a beat comes every 10 s: its end is seen soon enough
_PROGRESS_S = 5.0  # between two looks at the training itself, which reads its log and records


def follow(at: StageContext, owner: Claim) -> None:
    """Shows the training of a living owner; returns once it is complete or the owner died.

    Raises Interrupted where the owner ended it otherwise, or where a stop of the following was requested.
    """
    name, facts = at.name, state.read(at)
    say(
        f"{name}: {owner_of(owner)} trains it already, so this start follows it; Ctrl-C ends only"
        f" the following; to stop the training, run: trainrelay stop {name}"
    )
    shown = Display(Console(stderr=True), name, facts.asked, time.monotonic)
    with contextlib.closing(shown), stop_requests() as stop:
        watch, observer = StageWatch(at), Observer(facts.paths.supervision)
        looked_s, step = float("-inf"), None
        while (seen := observer.look()) is not None and seen.claim.owner == owner.owner:
            if stop.requested:
                raise Interrupted(f"{name}: no longer followed; {owner_of(owner)} trains on")
            if seen.concluded.kind == "released":
                return _judge_end(at)
            if seen.concluded.kind == "dead":
                return None
            if time.monotonic() - looked_s >= _PROGRESS_S:
                looked_s, before, row = time.monotonic(), step, watch.look()
                if row.iteration is not None:
                    place = (row.epoch or 1, row.iteration, row.iterations_per_epoch)
                    step = StepSeen(*place, row.loss, row.eta_s, by_iteration=row.epoch is None)
                if step is not None and step != before:
                    shown.step(step)
            time.sleep(_LOOK_S)
    return None


def _judge_end(at: StageContext) -> None:
    facts = state.read(at)
    judged = state.judge(facts)
    if judged.kind == "stopped":
        raise end_error(facts, facts.attempts[-1])
    if judged.kind != "complete":
        raise Interrupted(
            f"{at.name}: the supervisor that was followed has ended: {judged.reason}."
            " Run the same command again to resume."
        )
