"""A trainer's own dumps of its Python stacks: made possible at its start, asked for by a signal.

The signal would end a process that has no handler for it, and a handler alone does not tell whose it is. So
it is sent only where the process catches it **and** holds the file in memory that startup/sitecustomize.py
made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from trainrelay.system.alive import link_of, text_of

MEMORY_NAME = "trainrelay-stacks"  # both as in startup/sitecustomize.py
STACK_SIGNAL = 62

_STARTUP = Path(__file__).with_name("startup")
_CHECK_S = 0.01  # a fraction of _SETTLED_S
_FIRST_BYTE_S = 2.0  # the handler writes at once; a process stuck inside the kernel never runs it
_SETTLED_S = 0.1  # without another byte, a dump is complete
_MOST_BYTES = 1024 * 1024  # faulthandler prints up to 100 threads of 100 frames, some 100 bytes each


def with_stack_dumps(env: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a launcher whose ranks will be able to dump their stacks."""
    rest = env.get("PYTHONPATH")
    return {**env, "PYTHONPATH": f"{_STARTUP}{os.pathsep}{rest}" if rest else str(_STARTUP)}


def stack_dump(pid: int, until_s: float) -> str:
    """The stacks of all threads of a process as it prints them itself; empty if it cannot.

    `until_s` on the monotonic clock. A process that would not survive the signal does not get it.
    """
    memory = memory_file(pid, MEMORY_NAME) if _catches(pid) else None
    if memory is None:
        return ""
    try:
        before = memory.stat().st_size
        os.kill(pid, STACK_SIGNAL)
        _await_dump(memory, before, until_s)
        with memory.open("rb") as file:
            file.seek(before)
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:  # it ended meanwhile
        return ""


def _catches(pid: int) -> bool:
    for line in text_of(f"/proc/{pid}/status").splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (STACK_SIGNAL - 1) & 1)
    return False


def memory_file(pid: int, name: str) -> Path | None:
    """A nameless file in memory that a process holds, by what it calls it."""
    try:
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    return next((path for path in opened if link_of(path).startswith(f"/memfd:{name} ")), None)


def _await_dump(memory: Path, before: int, until_s: float) -> None:
    until_s = min(until_s, time.monotonic() + _FIRST_BYTE_S)
    size, grown_s = before, 0.0
    while (now_s := time.monotonic()) < until_s or size > before:
        if (grown := memory.stat().st_size) > size:
            size, grown_s = grown, now_s
        if size > before and (now_s - grown_s >= _SETTLED_S or size - before > _MOST_BYTES):
            return
        time.sleep(_CHECK_S)
