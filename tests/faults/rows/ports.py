"""The port at which the ranks meet is held by another process."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from faults.bench import STAGE, Bench
from faults.fault import Measurement, fault


def _held(port: int) -> socket.socket:
    """A server on a port of every address, as torch's would be."""
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)


def _port_of_first_attempt(bench: Bench) -> int | None:
    # Its record is written just before its launcher is started, which takes seconds to come to the port.
    with suppress(OSError, ValueError):
        text = (bench.stage / "attempts/001/attempt.json").read_text()
        found = re.search(r"--master_port=(\d+)", text)
        return int(found[1]) if found else None
    return None


@fault(
    "port-taken",
    "port taken",
    injected="a server binds the chosen port before torch's launcher does",
    must="port; another port; completes",
)
def port_taken(bench: Bench) -> Measurement:
    launch = bench.start("trainrelay", "train", STAGE)
    port = bench.wait_for("the first attempt's port", lambda: _port_of_first_attempt(bench))
    with _held(port):
        bench.injected_now("port-taken")
        seen = bench.resumed(launch, "port")
    other = bench.attempts()[1].argv
    assert f"--master_port={port}" not in other, f"the second attempt used the taken port again: {other}"
    return seen


@fault(
    "fixed-port-taken",
    "port taken that the user fixed",
    injected="a server holds the master_port of the config",
    must="port; final",
    quick=True,
)
def fixed_port_taken(bench: Bench) -> Measurement:
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        bench.configure(master_port=port)
        launch = bench.start("trainrelay", "train", STAGE)
        bench.wait_for("the first attempt", bench.attempts)
        bench.injected_now("fixed-port-taken")
        seen = bench.final(launch, 2, "port")
    assert "master_port: null" in launch.text, f"it does not say what to set:\n{launch.text}"
    return seen
