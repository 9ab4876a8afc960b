"""A supervisor's lease in a process of its own, told what to do line by line; as a script, that process.

Each command is a JSON list on stdin, each answer a JSON object on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trainrelay.errors import TrainrelayError
from trainrelay.records import Place
from trainrelay.supervise.lease.acquisition import acquire
from trainrelay.supervise.lease.lease import Lease
from trainrelay.system.alive import here

BEAT_S = 0.1


def node(host: str) -> Place:
    """A place on another machine."""
    return Place(host=host, machine="m" + host, boot="b" + host, pid_namespace="4026531836")


class Supervisor:
    """The test's end of such a process. `host`: it believes to run there; None: on this machine."""

    def __init__(self, host: str | None = None, beat_s: float = BEAT_S, job: str = "") -> None:
        place = (node(host) if host else here()).model_dump_json()
        self.process = subprocess.Popen(
            [sys.executable, __file__, place, str(beat_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "SLURM_JOB_ID": job},
            text=True,
        )
        self.pid = self.process.pid

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def begin(self, *command: object) -> None:
        """Sends a command without waiting for its answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command, default=str) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer to the oldest command without one."""
        assert self.process.stdout
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def tell(self, *command: object) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        self.begin(*command)
        return self.answer()

    def acquire(self, stage_dir: Path, at_s: float = 0.0) -> dict[str, Any]:
        """Takes the lease, at a time of the machine's monotonic clock."""
        return self.tell("acquire", stage_dir, at_s)

    def kill(self) -> None:
        """SIGKILL, and reaped."""
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """SIGSTOP; returns once it is stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


class _Serving:
    def __init__(self, place: Place, beat_s: float) -> None:
        self.place, self.beat_s = place, beat_s
        self.lease: Lease | None = None

    def serve(self, verb: str, *arguments: Any) -> dict[str, Any]:
        try:
            return getattr(self, verb)(*arguments) or {}
        except TrainrelayError as error:
            return {"error": type(error).__name__, "message": str(error)}

    def acquire(self, stage_dir: str, at_s: float) -> dict[str, Any]:
        said: list[str] = []
        while time.monotonic() < at_s:
            pass
        self.lease = acquire(
            Path(stage_dir), "run/stage", said.append, lambda: False, beat_s=self.beat_s, place=self.place
        )
        former = self.lease.taken_from
        return {"token": self.lease.token, "from": former and former.place.host, "said": said}

    def guard(self) -> dict[str, Any]:
        assert self.lease
        self.lease.guard()
        return {"mine": self.lease.lost is None}

    def lost(self) -> dict[str, Any]:
        assert self.lease
        return {"lost": self.lease.lost}

    def release(self) -> None:
        assert self.lease
        self.lease.release()


if __name__ == "__main__":
    serving = _Serving(Place.model_validate_json(sys.argv[1]), float(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(serving.serve(*json.loads(line))), flush=True)
