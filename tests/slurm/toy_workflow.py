"""A workflow of two trainings that take a while, save when they are stopped and go on where they were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from slurm.rig import Rig, wait_for

PLUGIN = Path(__file__).resolve().parents[2] / "plugin/src"

WORK = """\
import os, signal, sys, time
from pathlib import Path

name, seconds, output = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
saved, stopped = Path(f"{name}.saved"), []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))


def say(what):
    with Path("events").open("a") as file:
        file.write(f"{name} {os.environ.get('SLURM_JOB_ID')} {what}\\n")


done = float(saved.read_text()) if saved.exists() else 0.0
say(f"starts at {done:.1f}")
while done < seconds:
    time.sleep(0.2)
    done += 0.2
    if stopped:
        time.sleep(1)
        saved.write_text(str(done))
        say("saved")
        sys.exit(75)
output.write_text("trained")
say("done")
"""

SNAKEFILE = """\
import sys

rule all:
    input: "second.out"

rule first:
    output: "first.out"
    resources: {first}
    shell: "exec {{sys.executable}} work.py first {seconds} {{output}}"

rule second:
    input: "first.out"
    output: "second.out"
    resources: {second}
    shell: "{{sys.executable}} work.py second 1 {{output}}; echo trained"
"""

EIGHT = 'gpu=8, gpu_model="a40", mem_mb=2000, runtime=20'


@dataclass
class Toy:
    """The workflow in a folder. `seconds`: how long the first training takes."""

    rig: Rig
    folder: Path
    seconds: float = 8.0
    first: str = EIGHT
    second: str = EIGHT
    options: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)  # of the controllers, beside the rig's
    controllers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def write(self) -> Toy:
        (self.folder / "work.py").write_text(WORK, encoding="utf-8")
        text = SNAKEFILE.format(first=self.first, second=self.second, seconds=self.seconds)
        (self.folder / "Snakefile").write_text(text, encoding="utf-8")
        return self

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """A controller in a session of its own, as on a terminal of its own."""
        command = [
            *(sys.executable, "-m", "snakemake", "--executor", "submitit", "--jobs", "4"),
            *("--submitit-poll-interval-s", "3", "--latency-wait", "20"),
            *("--default-resources", "slurm_partition=gpu", *self.options, *more),
        ]
        path = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        with (self.folder / "controller.log").open("ab") as log:
            controller = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.rig.environment(PYTHONPATH=path, **self.env),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.controllers.append(controller)
        return controller

    def run(self, *more: str) -> int:
        """Exit status of a whole run."""
        return self.start(*more).wait(timeout=300)

    def unlock(self) -> None:
        """After a controller that was killed."""
        assert self.start("--unlock").wait(timeout=60) == 0

    def end(self) -> None:
        """No controller outlives its test."""
        for controller in self.controllers:
            if controller.poll() is None:
                controller.send_signal(signal.SIGKILL)
                controller.wait()

    def said(self) -> str:
        """What the controllers printed."""
        return (self.folder / "controller.log").read_text(encoding="utf-8")

    def events(self) -> list[str]:
        """What the trainings noted, in order: `first 12 starts at 0.0`."""
        path = self.folder / "events"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def wait_for(self, text: str, times: int = 1, timeout_s: float = 90.0) -> list[str]:
        """The words of the last event that holds this text, once there are so many of them."""
        wait_for(lambda: self._held(text) >= times, f"{times} x {text!r} in {self.events()}", timeout_s)
        return next(event for event in reversed(self.events()) if text in event).split()

    def _held(self, text: str) -> int:
        return sum(text in event for event in self.events())

    def job_ids(self) -> list[str]:
        """The jobs in which a training started, each once."""
        return list(dict.fromkeys(event.split()[1] for event in self.events()))

    def first_training(self) -> int:
        """The first training's job, once it trains a little."""
        job = int(self.wait_for("first")[1])
        time.sleep(1)
        return job
