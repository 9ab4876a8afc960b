"""What /proc shows of the processes of an attempt: which ranks there are, and how each is doing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from trainrelay.system.alive import Kin, Process, find
from trainrelay.text import printable

_STATES = {
    psutil.STATUS_DISK_SLEEP: "stuck inside the kernel",
    psutil.STATUS_TRACING_STOP: "held by a debugger",
}
_MOST_DIGITS = 6  # of a rank's number, which comes from an environment that anybody may set


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """A process of an attempt at one moment.

    `rank` is in its environment, which data workers inherit; `is_rank` tells the rank itself from them.
    `waits_in` is the kernel function that its main thread waits in.
    """

    pid: int
    name: str
    rank: int | None
    is_rank: bool
    state: str  # running, sleeping, stopped, ...
    cpu_s: float
    waits_in: str | None

    @property
    def stopped(self) -> bool:
        """Whether it would get a signal only once it is continued."""
        return self.state in (psutil.STATUS_STOPPED, _STATES[psutil.STATUS_TRACING_STOP])


def snapshots(kin: Kin) -> list[ProcessSnapshot]:
    """Every process of an attempt on this host, the ranks first, in order."""
    members = sorted(find(kin), key=lambda member: (member.ticks, member.pid))
    numbers = {member.pid: _environment_number(member.pid, "RANK") for member in members}
    oldest: dict[int | None, int] = {}
    for member in members:  # a rank is older than all that it started
        if _environment_number(member.pid, "LOCAL_RANK") is not None:
            oldest.setdefault(numbers[member.pid], member.pid)
    seen = (
        _seen(member, numbers[member.pid], oldest.get(numbers[member.pid]) == member.pid)
        for member in members
    )
    return sorted(filter(None, seen), key=_order)


def _order(process: ProcessSnapshot) -> tuple[bool, bool, int, int]:
    return not process.is_rank, process.rank is None, process.rank or 0, process.pid


def _seen(member: Process, rank: int | None, oldest: bool) -> ProcessSnapshot | None:
    try:
        process = psutil.Process(member.pid)
        with process.oneshot():
            status, times = process.status(), process.cpu_times()
    except psutil.Error:
        return None
    return ProcessSnapshot(
        pid=member.pid,
        name=member.name,
        rank=rank,
        is_rank=rank is not None and oldest,
        state=_STATES.get(status, status),
        cpu_s=times.user + times.system,
        waits_in=_waits_in(member.pid),
    )


def _environment_number(pid: int, variable: str) -> int | None:
    try:
        text = psutil.Process(pid).environ().get(variable, "")
    except (psutil.Error, OSError):
        return None
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _waits_in(pid: int) -> str | None:
    name = proc_text(pid, "wchan").strip()
    return None if name in ("", "0") else printable(name)


def proc_text(pid: int, name: str) -> str:
    """A file of /proc/PID; empty if the process is gone or the file is not for us."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
