"""The roll of an attempt: its processes, written down while it runs.

By it a later supervisor finds a trainer whose environment was cleared (`env -i`, `apptainer --cleanenv`,
sudo), also where nobody is left who started it.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from trainrelay.alive import Kin, Process, family, find, here, stat, table
from trainrelay.errors import Fenced
from trainrelay.files import write_json_unsynced
from trainrelay.records import AttemptRecord, Processes
from trainrelay.state import PROCESSES, kin_of
from trainrelay.supervise.attempts import folder

_LOOK_S = 5.0
_MOST = 1000  # the oldest: what is younger descends from them
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on descendants whose parents die become children of this process, but not of its children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Roll:
    """The processes of one attempt; `guard` is called before each write and raises Fenced."""

    def __init__(
        self, stage_dir: Path, record: AttemptRecord, guard: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._guard = folder(stage_dir, record.number), guard
        self.kin = kin_of(self._folder) or Kin(record.tag)
        self._launcher: Process | None = None
        self._looked_s = float("-inf")

    def began(self, pid: int) -> None:
        """A launcher of ours was started: it is written down before anything else happens."""
        self._launcher = stat(pid)
        self._take([self._launcher])

    def find(self) -> list[Process]:
        """Every living process; this reads each environment, and may so wait for a stuck process."""
        found = find(self.kin)
        self._take(found)
        return found

    def look(self, *, now: bool = False) -> None:
        """Writes down who lives, at most every 5 s, by what costs little; buries those left to us."""
        if now or time.monotonic() - self._looked_s >= _LOOK_S:
            self._looked_s, seen = time.monotonic(), table()
            adopted = [one for one in seen.values() if self._launcher and self._is_ours(one, self._launcher)]
            self._take(family(seen, (one.pid for one in adopted), self.kin.known))
            for one in adopted:
                if one.gone and self._launcher and one.pid != self._launcher.pid:
                    with suppress(ChildProcessError):
                        os.waitpid(one.pid, os.WNOHANG)

    def _is_ours(self, one: Process, launcher: Process) -> bool:
        return one.parent == os.getpid() and one.ticks >= launcher.ticks

    def _take(self, found: Iterable[Process]) -> None:
        oldest = sorted(found, key=lambda one: one.ticks)[:_MOST]
        if (kin := Kin(self.kin.tag, tuple(one.key for one in oldest))) != self.kin:
            self.kin = kin
            # A full disk ends no training.
            with suppress(OSError, Fenced):
                self._guard()
                written = Processes(tag=kin.tag, place=here(), known=kin.known)
                write_json_unsynced(self._folder / PROCESSES, written)
