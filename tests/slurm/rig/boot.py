"""Making a rig's folder and bringing its daemons up, one after the other."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from slurm.rig import conf, daemons
from slurm.rig.clients import Clients
from slurm.rig.conf import Layout
from slurm.rig.errors import DaemonEnded, RigError
from slurm.rig.leftovers import prepare_cgroups
from slurm.rig.machine import MARKER, answers
from slurm.rig.waiting import wait_for

KEPT = {"boot.lock", "users.lock"}
NVIDIA_MAJOR = 195  # the number that real NVIDIA devices have; nothing ever opens these


def write_folder(layout: Layout) -> None:
    """Everything that lies in the folder before the first daemon starts; what lay there is removed."""
    empty(layout.folder)
    _write(layout.folder / MARKER, json.dumps(asdict(layout), default=str, indent=1))
    for name in ("run", "log", "state", "spool", "dev", *(f"spool/{node}" for node in layout.nodes)):
        (layout.folder / name).mkdir()
    _make_devices(layout.folder / "dev")
    password = secrets.token_hex(16)
    (layout.folder / "munge.key").touch(mode=0o600)
    (layout.folder / "munge.key").write_bytes(secrets.token_bytes(128))
    _write(layout.conf, conf.slurm_conf(layout))
    _write(layout.folder / "job_submit.lua", conf.job_submit_lua())
    _write(layout.folder / "gres.conf", conf.gres_conf(layout))
    _write(layout.folder / "cgroup.conf", conf.cgroup_conf(layout))
    _write(layout.folder / "slurmdbd.conf", conf.slurmdbd_conf(layout, password), mode=0o600)
    _write(layout.folder / "database.sql", conf.database_sql(password), mode=0o600)


def empty(folder: Path) -> None:
    """Removes what lies in a rig's folder, its lock files apart."""
    for path in folder.iterdir():
        if path.name in KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.touch(mode=mode)
    path.write_text(text, encoding="utf-8")


def _make_devices(folder: Path) -> None:
    try:
        for number in range(conf.NUM_GPUS):
            os.mknod(folder / f"nvidia{number}", stat.S_IFCHR | 0o666, os.makedev(NVIDIA_MAJOR, number))
    except PermissionError as error:
        raise RigError("device files cannot be made here: the rig needs root with CAP_MKNOD") from error


def bring_up(layout: Layout, say: Callable[[str], None]) -> None:
    """Starts every daemon, each after those that it asks; RigError with a log's end where one dies."""
    prepare_cgroups(layout)
    _make_database(layout)
    for daemon in daemons.daemons(layout).values():
        say(f"starting {daemon.name}")
        start(layout, daemon.name)
        if daemon.name == "slurmdbd":
            _make_accounts(layout)
    clients = Clients(layout.conf)
    _until(layout, "slurmctld", lambda: all_idle(clients, layout))


def start(layout: Layout, name: str, *options: str) -> psutil.Process:
    """Starts one daemon and waits until it answers."""
    daemon = daemons.daemons(layout)[name]
    process = daemons.start(layout, replace(daemon, argv=(*daemon.argv, *options)))
    _until(layout, name, lambda: ready(layout, name))
    return process


def ready(layout: Layout, name: str) -> bool:
    """Whether a daemon answers."""
    port = {
        "mariadbd": layout.database_port,
        "slurmdbd": layout.slurmdbd_port,
        **{f"slurmd.{node}": layout.first_port + 3 + index for index, node in enumerate(layout.nodes)},
    }
    if name == "munged":
        return layout.munge_socket.is_socket()
    if name == "slurmctld":
        return "is UP" in Clients(layout.conf).run("scontrol", "ping", check=False).stdout
    return answers(port[name])


def _until(layout: Layout, name: str, condition: Callable[[], bool]) -> None:
    def came_or_died() -> bool:
        if daemons.find(layout.folder, name) is None:
            raise DaemonEnded(name, daemons.tail(layout.folder, name))
        return condition()

    try:
        wait_for(came_or_died, f"{name} to answer")
    except DaemonEnded:
        raise
    except RigError as error:
        raise RigError(f"{error}\n{daemons.tail(layout.folder, name)}") from error


def _make_database(layout: Layout) -> None:
    """MariaDB's own tables, in the rig's folder."""
    command = [
        "mariadb-install-db",
        "--no-defaults",
        f"--user={layout.user}",
        f"--datadir={layout.folder}/database",
        "--auth-root-authentication-method=socket",
        "--skip-test-db",
        "--skip-name-resolve",
    ]
    done = subprocess.run(
        command, env=daemons.environment(layout), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RigError(f"mariadb-install-db failed:\n{done.stdout[-500:]}{done.stderr[-500:]}")


def _make_accounts(layout: Layout) -> None:
    """The cluster, one account and this user, so that sbatch can refuse any other account."""
    clients = Clients(layout.conf)
    clients.sacctmgr("add", "cluster", conf.CLUSTER)
    clients.sacctmgr("add", "account", conf.ACCOUNT, f"Cluster={conf.CLUSTER}")
    clients.sacctmgr(
        *("add", "user", layout.user, f"Account={conf.ACCOUNT}", f"Cluster={conf.CLUSTER}"),
        f"DefaultAccount={conf.ACCOUNT}",
    )


def all_idle(clients: Clients, layout: Layout) -> bool:
    """Whether every node is up and runs nothing."""
    states = clients.run("sinfo", "-h", "-N", "-o", "%N %t", check=False).stdout.split("\n")
    return {f"{node} idle" for node in layout.nodes} <= {state.strip() for state in states}
