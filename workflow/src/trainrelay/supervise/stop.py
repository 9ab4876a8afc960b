"""A requested stop: by a signal, or over a file, from any machine that shares the folder.

`stop.json` names the owner of the lease that it is meant for, so a stale one never stops a later launch.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pydantic import Field, ValidationError

from trainrelay.records import HostName, Record
from trainrelay.supervise.lease.claim import OwnerId
from trainrelay.system.alive import here
from trainrelay.system.files import last_bytes, write_json

LOOK_EVERY_S = 1.0  # on a network file system each look asks the server
_MAX_BYTES = 4096  # a request has under 500: its host's name is the longest part
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Which signals requested a stop. The handler only notes them: waiting inside one can deadlock.

    `asked` says whether a request came in another way; it counts as one SIGTERM.
    """

    def __init__(self, asked: Callable[[], bool] = bool) -> None:
        self.signals: list[signal.Signals] = []
        self._asked = asked

    @property
    def requested(self) -> bool:
        """Stop, with the grace that the trainer is due."""
        return bool(self.signals) or self._asked()

    @property
    def at_once(self) -> bool:
        """Ctrl-C a second time: no grace. A SIGTERM after it may come from Snakemake and does not count."""
        return self.signals.count(signal.SIGINT) > 1

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        self.signals.append(signal.Signals(signum))


@contextmanager
def stop_requests(asked: Callable[[], bool] = bool) -> Iterator[StopRequest]:
    """Counts SIGINT, SIGTERM and SIGHUP while the block runs; what was ignored (nohup) stays ignored."""
    request = StopRequest(asked)
    before = {signum: signal.getsignal(signum) for signum in _STOP_SIGNALS}
    ours = [signum for signum, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for signum in ours:
            signal.signal(signum, request.handle)
        yield request
    finally:
        for signum in ours:
            signal.signal(signum, before[signum])


# ---------------------------------------------------------------------- over a file


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
            self._looked_s, order = self._clock(), read_order(self._supervision)
            if order is not None and order.owner == self._owner:
                self._came = True
                self._say(f"stop requested from {order.host}")
        return self._came
