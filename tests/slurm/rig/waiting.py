"""Waiting for what must come true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from slurm.rig.errors import RigError

# Against waiting for ever, not a measure of anything: the machine may be busy with other things.
PATIENCE_S = 180.0

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S, poll_s: float = 0.1) -> T:
    """The first true value of `condition`; RigError naming `what` and the last value after patience_s."""
    deadline_s = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            raise RigError(f"waited {patience_s:.0f} s in vain for {what}; at the end it was {value!r}")
        time.sleep(poll_s)
    return value
