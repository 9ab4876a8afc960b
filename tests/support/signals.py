"""Signals as a terminal leaves them."""

from __future__ import annotations

import signal


def as_a_terminal_leaves_them() -> None:
    """Signals that the shell ignored for us would be ignored by the processes under test, too.

    `nohup` ignores SIGHUP, and a script that starts a command with `&` ignores SIGINT for it. trainrelay
    respects both, so its tests need them as a terminal leaves them.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
