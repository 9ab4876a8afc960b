"""Steps of a job, by their name: what processes on other nodes are, which cannot be seen in /proc."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import ask, cancel

_STEP = re.compile(r"[0-9_+]+\.\d+")
_DEADLINE_S = 20.0
_LOOK_S = 0.3
_ASK_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Steps:
    """Every living step of this name in a job."""

    job_id: str
    name: str

    def ids(self) -> list[str]:
        """JOB.STEP of each; SlurmError."""
        command = ["squeue", "--steps", f"--jobs={self.job_id}", "--noheader", "--format=%i|%j"]
        found = (line.strip().partition("|") for line in ask(command, deadline_s=_DEADLINE_S).splitlines())
        return [step for step, _, name in found if name == self.name and _STEP.fullmatch(step)]

    def terminate(self) -> bool:
        """SIGTERM to all of them, on every node; False if Slurm could not be asked to."""
        try:
            cancel(self.ids(), "--signal=TERM", deadline_s=_DEADLINE_S)
        except SlurmError:
            return False
        return True

    def kill(self, within_s: float) -> tuple[str, ...]:
        """SIGKILL, until none lives or `within_s` is over; those that are left then."""
        until_s = time.monotonic() + within_s
        while True:
            try:
                left, pause_s = tuple(self.ids()), _LOOK_S
                cancel(left, deadline_s=_DEADLINE_S)
            except SlurmError:
                left, pause_s = (f"what Slurm knows as {self.name}",), _ASK_AGAIN_S
            if not left or time.monotonic() >= until_s:
                return left
            time.sleep(pause_s)
