"""What this machine offers a rig, and what forbids one here."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import psutil

from slurm.rig.conf import NUM_PORTS
from slurm.rig.daemons import TAG, lives, variables
from slurm.rig.errors import RigError

CGROUPS = Path("/sys/fs/cgroup")
SYSTEM_CONFS = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))
BOOT_LOCK = Path("/run/trainrelay-slurm-rig.lock")  # root alone writes there
MARKER = "rig.json"  # beside the slurm.conf of every rig

# Below the range from which the kernel gives ports to clients, and none of Slurm's or MariaDB's own.
FIRST_PORTS = range(16817, 20000, 10)


def cgroup_plugin(mounted: Path = CGROUPS) -> str | None:
    """The cgroup plugin that can work here; None where no cgroup may be made."""
    if (mounted / "cgroup.controllers").is_file():
        return "cgroup/v2" if _may_make_a_cgroup(mounted) else None
    return "cgroup/v1" if _may_make_a_cgroup(mounted / "freezer") else None


def _may_make_a_cgroup(hierarchy: Path) -> bool:
    trial = hierarchy / f"trainrelay_rig_trial_{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    return True


def free_ports() -> int:
    """The first of NUM_PORTS ports in a row that nobody listens on."""
    for first in FIRST_PORTS:
        if all(_free(port) for port in range(first, first + NUM_PORTS)):
            return first
    raise RigError(f"no {NUM_PORTS} free ports in a row between {FIRST_PORTS[0]} and {FIRST_PORTS[-1]}")


def _free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def belongs_to_a_rig(conf: Path) -> bool:
    """Whether a slurm.conf, or what it is a link to, is a rig's."""
    return (conf.resolve().parent / MARKER).is_file()


def cluster_of_its_own(inherited: str | None) -> str | None:
    """Why this machine belongs to a real cluster, None where it does not; inherited is SLURM_CONF."""
    confs = [*SYSTEM_CONFS, *([Path(inherited)] if inherited else [])]
    for conf in confs:
        if conf.exists() and not belongs_to_a_rig(conf):
            return f"this machine has a Slurm configuration of its own, {conf}, and is left alone"
    for process in psutil.process_iter(["name"]):
        if process.info["name"] in ("slurmctld", "slurmd") and _foreign(process):
            return (
                f"a {process.info['name']} runs here already (pid {process.pid}); the machine is left alone"
            )
    return None


def _foreign(process: psutil.Process) -> bool:
    """Whether it lives and is no rig's; it has no environment for a moment while it starts."""
    for _ in range(10):
        if not lives(process):
            return False
        if seen := variables(process):
            return TAG not in seen
        time.sleep(0.1)
    return True


def rig_with_the_same_nodes(folder: Path, first_node: str) -> Path | None:
    """The folder of another rig that is up with nodes of these names: jobs share their cgroups by name."""
    for process in psutil.process_iter(["name", "cmdline"]):
        other = variables(process).get(TAG) if process.info["name"] == "slurmd" else None
        if other and Path(other) != folder and first_node in process.info["cmdline"]:
            return Path(other)
    return None
