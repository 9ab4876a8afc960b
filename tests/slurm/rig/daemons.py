"""The rig's daemons: how each is started, and starting, finding and ending one by pid and start time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from slurm.rig.conf import Layout
from slurm.rig.errors import RigError

# Every daemon carries the rig's folder in its environment: so it is found even if its pid was never written.
TAG = "TRAINRELAY_SLURM_RIG"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOP_S = 60.0  # slurmctld takes its time where jobs are just ending
SAME_START_S = 2.0  # start times follow the wall clock, which may be stepped by a little


@dataclass(frozen=True)
class Daemon:
    name: str
    argv: tuple[str, ...]


def daemons(layout: Layout) -> dict[str, Daemon]:
    """Every daemon by its name, in the order of their start."""
    listed = [_munged(layout), _database(layout), Daemon("slurmdbd", ("slurmdbd", "-D"))]
    listed.append(Daemon("slurmctld", ("slurmctld", "-D", "-f", str(layout.conf))))
    listed += [
        Daemon(f"slurmd.{node}", ("slurmd", "-D", "-N", node, "-f", str(layout.conf)))
        for node in layout.nodes
    ]
    return {daemon.name: daemon for daemon in listed}


def _munged(layout: Layout) -> Daemon:
    folder = layout.folder
    return Daemon(
        "munged",
        (
            "munged",
            "--foreground",
            "--force",  # the folder may lie in one that everybody may write, such as /tmp
            f"--socket={layout.munge_socket}",
            f"--key-file={folder}/munge.key",
            f"--pid-file={folder}/run/munged.pid",
            f"--seed-file={folder}/run/munged.seed",
        ),
    )


def _database(layout: Layout) -> Daemon:
    folder = layout.folder
    return Daemon(
        "mariadbd",
        (
            "mariadbd",
            "--no-defaults",
            f"--user={layout.user}",
            f"--datadir={folder}/database",
            f"--socket={folder}/run/mariadb.socket",
            f"--pid-file={folder}/run/mariadbd.pid",
            f"--init-file={folder}/database.sql",
            f"--port={layout.database_port}",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=0",
        ),
    )


def environment(layout: Layout) -> dict[str, str]:
    """What the daemons see: nothing of the shell that boots them."""
    return {
        "PATH": SYSTEM_PATH,
        "HOME": str(layout.folder),
        "LC_ALL": "C.UTF-8",
        "SLURM_CONF": str(layout.conf),
        TAG: str(layout.folder),  # the last one: see variables
    }


def start(layout: Layout, daemon: Daemon) -> psutil.Process:
    """Starts it in a session of its own and writes down its pid and start time."""
    with (layout.folder / f"log/{daemon.name}.out").open("ab") as log:
        child = subprocess.Popen(
            daemon.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(layout),
            cwd=layout.folder,
            start_new_session=True,
        )
    process = psutil.Process(child.pid)
    _pid_file(layout.folder, daemon.name).write_text(
        json.dumps({"pid": process.pid, "started_s": process.create_time()}), encoding="utf-8"
    )
    return process


def _pid_file(folder: Path, name: str) -> Path:
    return folder / f"run/{name}.json"


def find(folder: Path, name: str) -> psutil.Process | None:
    """The living daemon of that name: its pid, start time and tag are as they were written."""
    try:
        written = json.loads(_pid_file(folder, name).read_text(encoding="utf-8"))
        process = psutil.Process(written["pid"])
        near = abs(process.create_time() - written["started_s"]) < SAME_START_S
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if near and lives(process) and not _of_another(process, folder) else None


def _of_another(process: psutil.Process, folder: Path) -> bool:
    """Whether the pid was given again; a process has no environment for a moment while it starts."""
    seen = variables(process)
    return bool(seen) and seen.get(TAG) != str(folder)


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def variables(process: psutil.Process) -> dict[str, str]:
    """The environment that a process was started with; nothing where it cannot be read.

    slurmstepd writes its title over the first of them, where psutil would stop reading.
    """
    try:
        text = Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def stop(processes: list[psutil.Process], *, kill: bool = False) -> None:
    """TERM, and KILL for what is still there after STOP_S; returns when none lives."""
    send(processes, signal.SIGKILL if kill else signal.SIGTERM)
    alive = _wait(processes)
    send(alive, signal.SIGKILL)
    if stuck := _wait(alive):
        raise RigError(f"not even SIGKILL ended {[process.pid for process in stuck]}")


def _wait(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after STOP_S; a zombie is over, although psutil would wait for its reaper."""
    deadline_s = time.monotonic() + STOP_S
    while (alive := [process for process in processes if lives(process)]) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return alive


def send(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)  # psutil compares the start time before it sends
        except psutil.NoSuchProcess:
            continue


def tail(folder: Path, name: str, num_lines: int = 5) -> str:
    """The last lines that a daemon wrote, in its log or outside of it."""
    found = [folder / f"log/{name}{suffix}" for suffix in (".log", ".out")]
    lines = [line for path in found if path.is_file() for line in _lines(path)[-num_lines:]]
    return "\n".join(lines)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def on_path(program: str) -> str | None:
    """Where a program lies, also for users whose PATH has no sbin."""
    return next(
        (
            str(path)
            for folder in SYSTEM_PATH.split(":")
            if os.access(path := Path(folder, program), os.X_OK) and path.is_file()
        ),
        None,
    )
