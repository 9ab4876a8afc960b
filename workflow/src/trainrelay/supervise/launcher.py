"""What the supervisor waits for: its own launcher, or the processes that a dead supervisor left."""

from __future__ import annotations

import signal
import subprocess
import time

from trainrelay.supervise.process_list import ProcessList
from trainrelay.system.alive import Process, lives

UNSEEN = None  # the exit status of a trainer that was not our child

_REAP_S = 5.0  # for the exit status of a launcher that has ended
_RESCAN_S = 5.0  # a scan reads the environment of every process, so it is not done at each look


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
