"""Where this process runs, and what has become of one that ran at a known place.

A process is known by its pid and by its start in ticks since boot: unlike a start in Unix time, that does not
move when a person or NTP sets the clock.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Literal

from trainrelay.supervise.lease.claim import Claim, Place

# runs, stopped (suspended), gone: certain. rebooted: its machine runs another boot now, as far as names tell.
# elsewhere: nobody here can tell.
Fate = Literal["runs", "stopped", "gone", "rebooted", "elsewhere"]

_FIRST_PID_NAMESPACE = "4026531836"  # on every Linux: not inside a container
_GONE = (b"Z", b"X")
_STOPPED = (b"T", b"t")


def here() -> Place:
    """The place of this process."""
    return Place(
        host=_host_name(socket.gethostname()),
        machine=_word(_text("/etc/machine-id")),
        boot=_word(_text("/proc/sys/kernel/random/boot_id")),
        pid_namespace=re.sub(r"\D", "", _link("/proc/self/ns/pid")),
    )


def started_ticks(pid: int) -> int:
    """When a living process started, in ticks since boot."""
    return _stat(pid)[1]


def fate(owner: Claim, place: Place) -> Fate:
    """What has become of the owner's process, seen from `place`, which must be where we run."""
    if _same_kernel(owner.place, place):
        return _of_process(owner.pid, owner.started_ticks)
    return "rebooted" if _rebooted(owner.place, place) else "elsewhere"


def _same_kernel(one: Place, other: Place) -> bool:
    """Whether a pid of the one means the same process at the other."""
    return one == other and bool(one.boot and one.pid_namespace)


def _rebooted(before: Place, now: Place) -> bool:
    # Names of containers and their machine-id may be those of another container on another machine.
    known = bool(before.machine and before.boot and now.boot)
    real = before.pid_namespace == now.pid_namespace == _FIRST_PID_NAMESPACE
    same = (before.host, before.machine) == (now.host, now.machine)
    return known and real and same and before.boot != now.boot


def _of_process(pid: int, started: int) -> Fate:
    try:
        state, ticks = _stat(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return "elsewhere" if _hidden(pid) else "gone"
    if ticks != started or state in _GONE:
        return "gone"
    return "stopped" if state in _STOPPED else "runs"


def _stat(pid: int) -> tuple[bytes, int]:
    # The second field, the name in brackets, may itself hold brackets and spaces.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return fields[0], int(fields[19])


def _hidden(pid: int) -> bool:
    # /proc can be mounted so that the processes of other users do not show (hidepid).
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _host_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-")[:255] or "unknown"


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "", text)[:64]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
