"""Starts the ranks' launcher on one of several nodes; srun runs this file on each, in the trainer's Python.

    python -u node.py -m torch.distributed.run --nnodes=2 ...     python -u node.py SCRIPT ...

The words are the same on every node. Which node this is, torch.distributed.launch and .run must be told on
their command line, and Slurm tells it in the environment: `--node_rank` is put in behind the module. Imports
nothing of trainrelay and holds for Python 3.8.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from typing import List, Optional  # noqa: UP035

# When ranks lose each other, srun ends all nodes as soon as the first of them gives up. The node whose rank
# failed first may need longer to say so than the others to miss it: older torch looks every 5 s at its ranks.
LINGER_S = 8.0


def main() -> int:
    """The launcher's exit status, as a shell would give it."""
    # It announces the end of an allocation to every process in it, and the launcher would die of it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    say_interface()
    launcher = subprocess.Popen(argv(sys.argv[1:], os.environ["SLURM_PROCID"]))
    stops = hand_on_sigterm(launcher)
    status = launcher.wait()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if status and not stops:
        time.sleep(LINGER_S)
    return status if status >= 0 else 128 - status


def hand_on_sigterm(launcher: "subprocess.Popen[bytes]") -> List[int]:  # noqa: UP006
    """From now on: Slurm sends it to its own task alone, which is this process. Returns those that came."""
    came: List[int] = []  # noqa: UP006

    def hand_on(number: int, _: object) -> None:
        came.append(number)
        # Not by its own method, which may wait for what wait() holds.
        if launcher.returncode is None:
            os.kill(launcher.pid, number)

    signal.signal(signal.SIGTERM, hand_on)
    return came


def argv(words: List[str], node_rank: str) -> List[str]:  # noqa: UP006
    """The launcher's command line: the words, with the number of this node behind the module or script.

    After --whole they are a whole command, in which {node_rank} is the number.
    """
    if words[0] == "--whole":
        return [word.replace("{node_rank}", node_rank) for word in words[1:]]
    program = 2 if words[0] == "-m" else 1
    return [sys.executable, "-u", *words[:program], "--node_rank=" + node_rank, *words[program:]]


def say_interface() -> None:
    """Tells gloo over which interface the other nodes reach this one, where it would not find out."""
    interface = interface_of(own_address(), routes())
    if interface is not None and "GLOO_SOCKET_IFNAME" not in os.environ:
        os.environ["GLOO_SOCKET_IFNAME"] = interface
        print("this host's name means itself alone: gloo talks over", interface, flush=True)


def own_address() -> str:
    """What the host's own name means; empty where nobody knows."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""


def routes() -> str:
    """The kernel's table; empty if there is none."""
    try:
        with open("/proc/net/route", encoding="ascii") as table:  # noqa: PTH123
            return table.read()
    except OSError:
        return ""


def interface_of(address: str, table: str) -> Optional[str]:  # noqa: UP045
    """The interface to the rest of the world, from the kernel's table; None where gloo needs no word.

    gloo lets others connect to the address of the host's own name. Where that is one of the loopback (Debian
    writes 127.0.1.1 into /etc/hosts) they would reach themselves.
    """
    if address and not address.startswith("127."):
        return None
    rows = [line.split() for line in table.splitlines()]
    return next((row[0] for row in rows if row[1:2] == ["00000000"]), None)


if __name__ == "__main__":
    sys.exit(main())
