"""A stop request over files, from any machine that shares the folder.

`stop.json` names the owner of the lease that it is meant for, so a stale one never stops a later launch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationError

from trainrelay.records import HostName, Record
from trainrelay.supervise.lease.claim import OwnerId
from trainrelay.system.alive import here
from trainrelay.system.files import last_bytes, write_json

LOOK_EVERY_S = 1.0  # on a network file system each look asks the server

_MAX_BYTES = 4096  # a request has under 500: its host's name is the longest part


class StopOrder(Record):
    """stop.json: who is asked to stop, and from where. The time (Unix seconds) is for display only."""

    owner: OwnerId
    host: HostName
    at_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)


def order_file(supervision: Path) -> Path:
    """The file of a stage's stop request."""
    return supervision / "stop.json"


def ask_to_stop(supervision: Path, owner: str) -> None:
    """Asks the supervisor that holds the lease as `owner` to stop; UserError if it cannot be written."""
    order = StopOrder(owner=owner, host=here().host, at_s=time.time())
    write_json(order_file(supervision), order)


def read_order(supervision: Path) -> StopOrder | None:
    """The request in the file; None if there is none, or the file holds something else."""
    try:
        return StopOrder.model_validate_json(last_bytes(order_file(supervision), _MAX_BYTES))
    except ValidationError:
        return None


class StopOrderWatch:
    """Whether a request for one owner came in, looked for at most once per second and shown once."""

    def __init__(
        self,
        supervision: Path,
        owner: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._supervision, self._owner, self._say, self._clock = supervision, owner, say, clock
        self._looked_s, self._came = float("-inf"), False

    def __call__(self) -> bool:
        """True from the first look that finds the request."""
        if not self._came and self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._look()
        return self._came

    def _look(self) -> None:
        order = read_order(self._supervision)
        if order is not None and order.owner == self._owner:
            self._came = True
            self._say(f"stop requested from {order.host}")
