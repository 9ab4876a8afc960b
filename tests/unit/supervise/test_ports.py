"""Free ports."""

from __future__ import annotations

import socket

from trainrelay.system.ports import free_port, is_free


def test_port_that_somebody_listens_on_is_not_free() -> None:
    """A listener on any address of this host takes a port; when it is gone the port is free again."""
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert not is_free(port)
    assert is_free(port)


def test_chosen_port_lies_below_those_of_outgoing_connections() -> None:
    """So that no connection takes it before the launcher does."""
    assert all(20_000 <= free_port() < 32_000 for _ in range(20))
