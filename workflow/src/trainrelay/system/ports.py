"""A free TCP port for the ranks' rendezvous."""

from __future__ import annotations

import secrets
import socket

from trainrelay.errors import UserError

# Below the range from which systems take the ports of outgoing connections, so that none of those can
# take the port between our look and the launcher's start.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200  # even if half of the ports were taken, all of these would be once in 2^200


def free_port() -> int:
    """A port that nobody on this host listens on at this moment."""
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if is_free(port):
            return port
    raise UserError(
        f"none of {_TRIES} TCP ports tried between {_FIRST} and {_LAST} is free on this host; set"
        " `master_port` in config.yaml to a free port"
    )


def is_free(port: int) -> bool:
    """Whether one can listen on a port of this host."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError:
            return False
        return True
