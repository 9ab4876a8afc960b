"""Where every process of an attempt is: one file per process with its stacks, before a hung one is ended.

The process prints them itself (dumps.py), where it can; what the kernel shows is in every file. Nothing is
ended, stopped or continued by looking.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainrelay.supervise.hangs.dumps import stack_dump
from trainrelay.system.alive import Kin, Process, find, text_of
from trainrelay.text import printable, quoted

WITHIN_S = 20.0  # for all processes of a node: a hung training has minutes behind it already
_MOST_GROUPS = 8  # of ranks at one place: those of a node of 8 GPUs, even if each is elsewhere
_THREAD = "(most recent call first):"
_FRAME = re.compile(r'\s+File "(?:[^"]*/)?([^"/]*)", line (\d+) in (.*)')
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


@dataclass(frozen=True, slots=True)
class StackFile:
    """What was found out about one process.

    `frame` is where its main thread is, as `function (file:line)`; `path` is None if no file could be
    written.
    """

    process: ProcessSnapshot
    frame: str | None
    path: Path | None


def save_stacks(kin: Kin, folder: Path, within_s: float = WITHIN_S) -> list[StackFile]:
    """Looks at every process of an attempt on this host, the ranks first, and writes one file per process.

    Returns after `within_s` at the latest with what there is by then; never raises.
    """
    found: list[StackFile] = []
    # A thread, because even reading /proc can block on a process that is stuck inside the kernel.
    looking = threading.Thread(
        target=_look, args=(kin, folder, time.monotonic() + within_s, found), daemon=True
    )
    looking.start()
    looking.join(within_s)
    return list(found)


def _look(kin: Kin, folder: Path, until_s: float, found: list[StackFile]) -> None:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    for process in snapshots(kin):
        if time.monotonic() >= until_s:
            return
        found.append(_saved(process, folder, until_s))


def _saved(process: ProcessSnapshot, folder: Path, until_s: float) -> StackFile:
    # A stopped process would print its stacks only when it is continued.
    stacks = "" if process.stopped else stack_dump(process.pid, until_s)
    path, found = folder / f"{_file_name(process)}.txt", _frame(stacks)
    try:
        path.write_text(_page(process, stacks), encoding="utf-8")
    except OSError:
        return StackFile(process, found, None)
    return StackFile(process, found, path)


def _file_name(process: ProcessSnapshot) -> str:
    if process.rank is None:
        return f"pid-{process.pid}"
    return f"rank-{process.rank}" if process.is_rank else f"rank-{process.rank}-pid-{process.pid}"


def _page(process: ProcessSnapshot, stacks: str) -> str:
    who = f"rank {process.rank}" if process.is_rank else f"not a rank itself (RANK={process.rank})"
    head = [
        f"{process.name}, pid {process.pid}, {who}, host {socket.gethostname()}",
        f"state: {process.state}; CPU time: {process.cpu_s:.1f} s",
        f"the kernel waits in: {process.waits_in or 'nothing'}",
        "Python's stacks (faulthandler):" if stacks else "no Python stacks",
    ]
    lines = [*head, *stacks.splitlines()]
    if kernel := text_of(f"/proc/{process.pid}/stack"):  # readable for root only
        lines += ["the kernel's stack of the main thread:", *kernel.splitlines()]
    return "\n".join(map(printable, lines)) + "\n"


def _frame(stacks: str) -> str | None:
    # faulthandler prints the main thread last.
    _, thread, frames = stacks.rpartition(_THREAD)
    found = _FRAME.match(frames) if thread else None
    return quoted(f"{found[3]} ({found[1]}:{found[2]})") if found else None


def describe_stacks(stacks: Sequence[StackFile]) -> str:
    """Where the ranks are, in one line; those that differ from the others come first."""
    groups: dict[str, list[ProcessSnapshot]] = {}
    for stack in stacks:
        if stack.process.is_rank:
            groups.setdefault(_doing(stack), []).append(stack.process)
    if not groups:
        return f"no rank was found on host {socket.gethostname()}"
    parts = sorted(groups.items(), key=lambda item: len(item[1]))
    said = [f"{_names(ranks)} {doing}" for doing, ranks in parts[:_MOST_GROUPS]]
    said += [f"and {len(parts) - _MOST_GROUPS} more"] if len(parts) > _MOST_GROUPS else []
    return f"on host {socket.gethostname()}: " + "; ".join(said)


def _doing(stack: StackFile) -> str:
    process = stack.process
    if stack.frame:
        return f"{process.state} in {stack.frame}"
    return f"{process.state}, in the kernel's {process.waits_in}" if process.waits_in else process.state


def _names(ranks: Sequence[ProcessSnapshot]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0].rank} (pid {ranks[0].pid})"
    return "ranks " + ", ".join(str(process.rank) for process in ranks)


# ---------------------------------------------------------------------- what /proc shows


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
    name = text_of(f"/proc/{pid}/wchan").strip()
    return None if name in ("", "0") else printable(name)
