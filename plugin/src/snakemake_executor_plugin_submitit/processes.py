"""The commands that a Snakemake process runs, found by walking its children.

Neither process groups nor sessions are used: trainers start their own sessions.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path, PurePath

from psutil import STATUS_ZOMBIE, NoSuchProcess, Process

_SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}


def commands_below(pid: int) -> Iterator[Process]:
    """What runs below this shell for a rule: the topmost processes that are neither Snakemake nor a shell
    that only waits."""
    for process in _children(pid):
        with suppress(NoSuchProcess):
            argv = process.cmdline()
            if _is_snakemake(argv) or (_children(process.pid) and _only_waits(process.pid, argv)):
                yield from commands_below(process.pid)
            else:
                yield process


def _children(pid: int) -> list[Process]:
    try:
        return [child for child in Process(pid).children() if alive(child)]
    except NoSuchProcess:
        return []


def _is_snakemake(argv: Sequence[str]) -> bool:
    named = any(PurePath(word).name == "snakemake" for word in argv[:2])
    return named or any(pair == ("-m", "snakemake") for pair in pairwise(argv))


def _only_waits(pid: int, argv: Sequence[str]) -> bool:
    # A shell script with a trap for TERM is to get it itself.
    name = PurePath(argv[0]).name.lstrip("-") if argv else ""
    return name in _SHELLS and not _catches_term(Path(f"/proc/{pid}/status"))


def _catches_term(status: Path) -> bool:
    with suppress(OSError):
        if caught := re.search(r"^SigCgt:\s*([0-9a-f]+)$", status.read_text(errors="replace"), re.MULTILINE):
            return bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def alive(process: Process) -> bool:
    """A zombie has ended."""
    try:
        return process.is_running() and process.status() != STATUS_ZOMBIE
    except NoSuchProcess:
        return False
