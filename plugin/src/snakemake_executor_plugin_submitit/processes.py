"""The commands that a Snakemake process runs, found by walking its children in /proc.

Neither process groups nor sessions are used: trainers start their own sessions.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath

_SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}


@dataclass(frozen=True)
class ProcessId:
    """A pid may be used again; with the start time (clock ticks since boot) it means one process."""

    pid: int
    start: int


@dataclass(frozen=True)
class _Entry:
    process: ProcessId
    parent: int
    argv: tuple[str, ...]
    catches_term: bool


def commands_below(pid: int, proc: Path = Path("/proc")) -> list[ProcessId]:
    """What runs below this shell for a rule: the topmost processes that are neither Snakemake nor a shell
    that only waits."""
    children = _children(proc)
    return [found.process for child in children.get(pid, []) for found in _topmost(child, children)]


def _children(proc: Path) -> dict[int, list[_Entry]]:
    children: dict[int, list[_Entry]] = {}
    for entry in _entries(proc):
        children.setdefault(entry.parent, []).append(entry)
    return children


def _topmost(entry: _Entry, children: dict[int, list[_Entry]]) -> Iterator[_Entry]:
    below = children.get(entry.process.pid, [])
    if _is_snakemake(entry.argv) or (below and _only_waits(entry)):
        for child in below:
            yield from _topmost(child, children)
    else:
        yield entry


def _is_snakemake(argv: tuple[str, ...]) -> bool:
    named = any(PurePath(word).name == "snakemake" for word in argv[:2])
    return named or any(pair == ("-m", "snakemake") for pair in pairwise(argv))


def _only_waits(entry: _Entry) -> bool:
    # A shell script with a trap for TERM is to get it itself.
    name = PurePath(entry.argv[0]).name.lstrip("-") if entry.argv else ""
    return name in _SHELLS and not entry.catches_term


def alive(process: ProcessId, proc: Path = Path("/proc")) -> bool:
    """A zombie has ended."""
    entry = _entry(proc / str(process.pid))
    return entry is not None and entry.process == process


def terminate(process: ProcessId) -> None:
    """SIGTERM, unless the process has ended."""
    if alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def kill_tree(pid: int, proc: Path = Path("/proc")) -> None:
    """SIGKILL to a process and to all below it, the parents first, so that none starts another."""
    children = _children(proc)
    waiting = [pid]
    while waiting:
        pid = waiting.pop(0)
        waiting.extend(child.process.pid for child in children.get(pid, []))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _entries(proc: Path) -> Iterator[_Entry]:
    for name in os.listdir(proc):  # noqa: PTH208
        if name.isdigit() and (entry := _entry(proc / name)) is not None:
            yield entry


def _entry(folder: Path) -> _Entry | None:
    """None for a process that has ended, or that is another user's."""
    try:
        # The second field is the program's name in brackets and may hold anything.
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        caught = _caught_signals((folder / "status").read_text(errors="replace"))
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    process = ProcessId(int(folder.name), int(fields[19]))
    return _Entry(process, int(fields[1]), tuple(argv[:-1]), bool(caught >> (signal.SIGTERM - 1) & 1))


def _caught_signals(status: str) -> int:
    line = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return int(line.split()[1], 16)
