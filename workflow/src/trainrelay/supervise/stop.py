"""A requested stop, by a signal or through a file."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

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
