"""The Slurm steps of one stage inside this job: what its launchers and ranks are on other nodes.

A process on another node cannot be seen in /proc. Slurm finds its step by name, which is the stage's: so a
supervisor also finds the step that one before it left.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass

from trainrelay.trainers import LaunchRequest

_STEP = re.compile(r"[0-9_+]+\.\d+")
_TIMEOUT_S = 20.0
_LOOK_S = 0.3
_ASK_AGAIN_S = 2.0


class UnansweredError(Exception):
    """Slurm cannot be asked at the moment."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Every living step of this name in a job."""

    job_id: str
    name: str

    def ids(self) -> list[str]:
        """JOB.STEP of each; UnansweredError."""
        said = _output(["squeue", "--steps", f"--jobs={self.job_id}", "--noheader", "--format=%i|%j"])
        found = (line.strip().partition("|") for line in said.splitlines())
        return [step for step, _, name in found if name == self.name and _STEP.fullmatch(step)]

    def terminate(self) -> bool:
        """SIGTERM to all of them, on every node; False if Slurm could not be asked to."""
        try:
            self._cancel(self.ids(), "--signal=TERM")
        except UnansweredError:
            return False
        return True

    def kill(self, within_s: float) -> tuple[str, ...]:
        """SIGKILL, until none lives or `within_s` is over; those that are left then."""
        until_s = time.monotonic() + within_s
        while True:
            left, pause_s = self._killed()
            if not left or time.monotonic() >= until_s:
                return left
            time.sleep(pause_s)

    def _killed(self) -> tuple[tuple[str, ...], float]:
        try:
            ids = self.ids()
            self._cancel(ids)
        except UnansweredError:
            return (f"what Slurm knows as {self.name}",), _ASK_AGAIN_S
        return tuple(ids), _LOOK_S

    def _cancel(self, ids: list[str], *options: str) -> None:
        if ids:
            _output(["scancel", "--quiet", *options, *ids])


def steps_of(request: LaunchRequest) -> Steps | None:
    """Where a training's processes on other nodes are found; None for a training on one node."""
    job_id = os.environ.get("SLURM_JOB_ID")
    return Steps(job_id, request.step_name) if request.nodes > 1 and job_id else None


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnansweredError(str(error)) from error
    return done.stdout.decode("utf-8", errors="replace")
