"""The processes of an attempt, written down while it runs.

By it a later supervisor finds a trainer whose environment was cleared (`env -i`, `apptainer --cleanenv`,
sudo), also where nobody is left who started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from trainrelay.errors import Fenced, UserError
from trainrelay.records import AttemptRecord, Processes
from trainrelay.supervise.attempt_folders import attempt_folder
from trainrelay.system.alive import (
    Kin,
    Process,
    all_processes,
    find,
    here,
    lives,
    not_trainers,
    started_with,
    stat,
    with_descendants,
)
from trainrelay.system.files import write_json
from trainrelay.training.attempts import PROCESSES, kin_of

_LOOK_S = 5.0  # a look reads a file per process of the machine
_RESCAN_S = 5.0  # a scan reads the environment of every process, so it is not done at each look
_REAP_S = 5.0  # for the exit status of a launcher that has ended
UNSEEN = None  # the exit status of a trainer that was not our child
_MOST = 1000  # the oldest: what is younger descends from them
_PR_SET_CHILD_SUBREAPER = 36  # in <linux/prctl.h>
_NOBODY = Process(0, sys.maxsize, "", "", 0)


def adopt_orphans() -> None:
    """From now on descendants whose parents die become children of this process, but not of its children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class ProcessList:
    """The processes of one attempt; `guard` is called before each write and raises Fenced."""

    def __init__(
        self, stage_dir: Path, record: AttemptRecord, guard: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._guard = attempt_folder(stage_dir, record.number), guard
        self._written = kin_of(self._folder)
        self.kin = self._written or Kin(record.tag)
        self._launcher = _NOBODY
        self._looked_s = float("-inf")

    def began(self, pid: int) -> None:
        """A launcher of ours was started: it is written down before anything else happens."""
        self._launcher = stat(pid)
        self._take([self._launcher])

    def trainers(self, script: str) -> list[Process]:
        """Living launchers and ranks, no helper of theirs; this may wait for a stuck process."""
        self._take(found := find(self.kin))
        return [one for one in found if started_with(one, script)]

    def look(self, *, now: bool = False) -> None:
        """Writes down who lives, at most every 5 s, by what costs little; buries those left to us."""
        if now or time.monotonic() - self._looked_s >= _LOOK_S:
            self._looked_s, seen = time.monotonic(), all_processes()
            young = [one for one in seen.values() if one.ticks >= self._launcher.ticks]
            adopted = [one for one in young if one.parent == os.getpid() and one.pid not in not_trainers]
            self._take(with_descendants(seen, (one.pid for one in adopted), self.kin.known))
            for one in adopted:
                if one.gone and one.pid != self._launcher.pid:  # of the launcher Popen takes care
                    with suppress(ChildProcessError):
                        os.waitpid(one.pid, os.WNOHANG)

    def _take(self, found: Iterable[Process]) -> None:
        oldest = sorted(found, key=lambda one: one.ticks)[:_MOST]
        self.kin = self.kin._replace(known=tuple(one.key for one in oldest))
        if self.kin != self._written:
            with suppress(UserError, Fenced):  # a full disk ends no training
                self._guard()
                written = Processes(tag=self.kin.tag, place=here(), known=self.kin.known)
                write_json(self._folder / PROCESSES, written)
                self._written = self.kin


# ---------------------------------------------------------------------- what is waited for


class Child:
    """A launcher that we started."""

    def __init__(self, process: subprocess.Popen[bytes], listed: ProcessList | None = None) -> None:
        self._process, self._listed = process, listed
        if listed:
            listed.began(process.pid)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self._listed:
            self._listed.look()
        return self._process.poll() is None

    def status(self) -> int | None:
        """Its exit status, negative for a signal; that of a SIGKILL where it is stuck inside the kernel."""
        try:
            return self._process.wait(timeout=_REAP_S)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL


class Orphans:
    """The launcher and the ranks of an attempt whose supervisor died."""

    def __init__(self, listed: ProcessList, script: str) -> None:
        self._listed, self._script = listed, script
        self._members: list[Process] = []
        self._scanned_s = float("-inf")

    def running(self) -> bool:
        """Whether any of them lives."""
        fresh = time.monotonic() - self._scanned_s < _RESCAN_S
        if fresh and any(lives(*member.key) for member in self._members):
            return True
        self._members, self._scanned_s = self._listed.trainers(self._script), time.monotonic()
        return bool(self._members)

    def status(self) -> int | None:
        """Only a parent sees it."""
        return UNSEEN


Launcher = Child | Orphans
