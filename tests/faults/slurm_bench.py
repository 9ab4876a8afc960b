"""A project whose trainings are jobs on the rig: its controllers, its jobs, what Slurm says of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from faults.bench import Bench, ends_of, next_attempt
from faults.fault import Measurement
from faults.launch import Launch
from slurm.rig import Rig, RigError, wait_for
from slurm.rig.rig import ENDED
from slurm.wrapped import COUNT, wrap
from support.project import CONFIG
from trainrelay.records import AttemptRecord

POLL_S = 2  # between two squeue calls of a controller
SLURM = ("snakemake", "--profile", "profiles/slurm", "--submitit-poll-interval-s", str(POLL_S))
STAGE1 = (*SLURM, "--until", "train_stage1")  # without what follows the training on this machine
ASKED = {"gpu": 8, "gpu_model": "a40", "runtime_min": 15}

FOLLOWS = "found alive; following it"
_LEFT_S = 30.0  # a job has ended for Snakemake when its result is there, for Slurm a little later


class SlurmBench(Bench):
    """As a Bench; the training of stage1 asks for the eight A40s of one of the rig's nodes."""

    def __init__(self, folder: Path, rig: Rig) -> None:
        super().__init__(folder)
        self.rig = rig
        rig.heal()
        self.undo.callback(rig.heal)
        self.path = rig.environment()["PATH"]
        self.ask_for()

    def ask_for(self, **resources: Any) -> None:
        """Other resources of stage1, beside or in place of the usual ones."""
        self.configure(resources={**ASKED, **resources})

    def site(self, **settings: Any) -> None:
        """site.yaml."""
        (self.folder / "site.yaml").write_text(yaml.safe_dump(settings))

    def start(self, *argv: str, **env: str) -> Launch:
        """As a Bench does, on the rig's Slurm."""
        return super().start(*argv, **{"SLURM_CONF": str(self.rig.conf), "PATH": self.path, **env})

    def start_in(self, folder: Path, *argv: str) -> Launch:
        """The same in another working copy."""
        here, self.folder = self.folder, folder
        try:
            return self.start(*argv)
        finally:
            self.folder = here

    def python_path(self) -> str:
        """What a controller's Python finds modules in, beside its own."""
        return os.environ.get("PYTHONPATH", "")

    def wrap(self, program: str, lines: str = "") -> Path:
        """Counts a program of Slurm's and runs shell lines before it, wherever it is started from now on.

        Returns the folder of such programs, which is $HERE in the lines.
        """
        folder = self.folder / "slurm commands"
        self.path = wrap(folder, program, f"{COUNT}\n{lines}", self.path)
        return folder

    # ------------------------------------------------------------------ jobs

    def jobs(self) -> list[dict[str, str]]:
        """This project's trainings in Slurm's accounting, oldest first.

        `State` is one word, `AllocTRES` what the job held.
        """
        rows = self.rig.sacct(None, "JobID,JobName,State,AllocTRES,WorkDir", "--allocations")
        # Slurm also keeps what it refused; such a job never held anything.
        ours = [row for row in rows if row["AllocTRES"] and Path(row["WorkDir"]).is_relative_to(self.folder)]
        return [{**row, "State": row["State"].split()[0]} for row in ours]

    def live(self) -> list[str]:
        """The jobs on the rig that have not ended; an array is one."""
        rows = self.rig.squeue(fields="ArrayJobID,State")
        return list(dict.fromkeys(job["ArrayJobID"] for job in rows if job["State"] not in ENDED))

    def the_job(self) -> str:
        """The one job that lives."""
        live = self.live()
        assert len(live) == 1, f"there are {len(live)} living jobs: {live}"
        return live[0]

    def jobs_left(self) -> list[str]:
        """A sentence where a job has not ended by itself."""
        try:
            wait_for(lambda: not self.live(), "the end of every job", _LEFT_S)
        except RigError as error:
            return [f"jobs were left: {error}"]
        return []

    def preempt(self) -> None:
        """Another user's job of a few seconds takes the GPUs away."""
        self.rig.sbatch(
            *("--partition=urgent", "--gres=gpu:a40:8", "--output=/dev/null", "--chdir=/", "--wrap=sleep 3")
        )

    # ------------------------------------------------------------------ what rows have in common

    def held_in_job(self, *argv: str, **more: Any) -> tuple[Launch, str]:
        """A controller whose training is held in epoch 2, iteration 3, and the training's job."""
        launch = self.held(*argv, **more)
        return launch, self.the_job()

    def since_s(self, at_s: float) -> float:
        """From the injection to a moment."""
        return float(at_s - self._moments[-1]["at_s"])

    def held_up(self, *argv: str) -> tuple[Launch, str]:
        """A controller whose training waits in the queue, and the job that holds its GPUs."""
        holder = self.rig.sbatch("--gres=gpu:a40:8", "--output=/dev/null", "--chdir=/", "--wrap=sleep 600")
        launch = self.start(*argv)
        self.said_at(launch, r"train_stage1\[.*: job \d+ is PENDING")
        return launch, str(holder)

    def kill(self, launch: Launch) -> None:
        """The controller hears a SIGKILL, its jobs hear nothing."""
        self.injected_now("controller-sigkilled")
        os.killpg(launch.process.pid, signal.SIGKILL)
        launch.wait()

    def follows(self, job: str, *argv: str) -> tuple[Launch, float]:
        """The next controller, which found the killed one's job; seconds until it said so."""
        assert self.ended("snakemake", "--unlock").process.returncode == 0, "--unlock failed"
        relaunch = self.start(*argv)
        return relaunch, self.said_at(relaunch, rf"job {job} {FOLLOWS}") - relaunch.started_s

    def stop(self, launch: Launch, signum: signal.Signals) -> tuple[int, float]:
        """The training was saved and ended, and no job is left; exit status, and seconds to that end."""
        self.injected_now("asked-to-stop")
        os.killpg(launch.process.pid, signum)
        status = launch.wait()
        ended_s = self.first_end_s()
        assert status != 0, f"the controller ended well:\n{launch.text}"
        assert "Traceback" not in launch.text, f"it ended with a traceback:\n{launch.text}"
        assert not self.jobs_left(), f"a job is left: {self.live()}"
        asked = launch.text.partition("Terminating")[2]
        assert "scancel" not in asked, f"it asks for a scancel:\n{launch.text}"
        assert not self.processes(), f"processes are left: {self.processes()}"
        ends = [record.end for record in self.attempts()]
        assert ends == ["interrupted"], f"it ended {ends_of(self.attempts())}; it said:\n{launch.text}"
        return status, ended_s

    def first_end_s(self) -> float:
        """From the injection to the end of the first attempt."""
        ended_s = self.attempts()[0].ended_s
        assert ended_s is not None, "attempt 1 has no end"
        return self.since_s(ended_s)

    def resumes(self, *argv: str) -> AttemptRecord:
        """The same command again resumes what was stopped, and completes it; its attempt."""
        self.completes(self.ended(*argv))
        last = self.attempts()[-1]
        assert last.resumed_from is not None, "the relaunch starts from the beginning"
        return last

    def second_stage(self, **settings: Any) -> None:
        """From now on stage2, trained as in every test, starts from what stage1 promotes."""

        def change(data: dict[str, Any]) -> None:
            stages = data["runs"]["driving"]["stages"]
            stages["stage2"] = {**CONFIG["runs"]["driving"]["stages"]["stage2"], **settings}

        self.project.configure(change)

    def trains_again(self, launch: Launch) -> AttemptRecord:
        """The first attempt that began after the injection, once there is one."""

        def later() -> list[AttemptRecord]:
            return [record for record in self.attempts() if self.since_s(record.started_s) > 0]

        self.wait_for("another attempt", lambda: launch.ended or later())
        assert later(), f"no other attempt followed; it said:\n{launch.text}"
        return later()[0]

    def completes(self, launch: Launch) -> None:
        """The controller ends well, and the stage is complete."""
        status = launch.wait()
        assert status == 0, f"the controller ended with exit status {status} and said:\n{launch.text}"
        assert self.complete(), f"train.json does not tell of the last epoch; it said:\n{launch.text}"

    def resumed_in_jobs(self, launch: Launch, *states: str) -> Measurement:
        """The training continued after the fault by itself and completed, in jobs that ended so."""
        again = self.trains_again(launch)
        self.completes(launch)
        *records, last = self.attempts()
        assert last.end == "done", f"the attempts ended {ends_of(self.attempts())}"
        assert last.resumed_from is not None, "the last attempt starts from the beginning"
        self.in_jobs(*states)
        ends = ", ".join(str(record.end) for record in records)
        return Measurement(
            self.since_s(again.started_s), ends, self._next_step(again, len(states)), "completes"
        )

    def _next_step(self, again: AttemptRecord, jobs: int) -> str:
        where = "the same job" if jobs == 1 else "a new job"
        return f"{where}: {next_attempt(again)}"

    def undisturbed(self, launch: Launch) -> None:
        """The training continues to its end in its one attempt and its one job."""
        self.undisturbed_apart(launch)
        self.in_jobs("COMPLETED")

    def undisturbed_apart(self, launch: Launch) -> None:
        """The same where other working copies have jobs, too."""
        self.go_on()
        self.completes(launch)
        ends = [record.end for record in self.attempts()]
        assert ends == ["done"], f"the attempts ended {ends_of(self.attempts())}; it said:\n{launch.text}"

    def in_jobs(self, *states: str) -> None:
        """Accounting knows so many trainings of this project, each ended so and each with the eight A40s."""
        jobs = self._once(lambda: [job["State"] for job in self.jobs()] == list(states))
        found = [(job["JobID"], job["State"]) for job in jobs]
        assert [state for _, state in found] == list(states), f"the jobs in accounting are {found}"
        without = [job for job in jobs if "gres/gpu:a40=8" not in job["AllocTRES"]]
        assert not without, f"these jobs did not have eight A40s: {without}"

    def _once(self, condition: Callable[[], bool]) -> list[dict[str, str]]:
        """The jobs, when the condition holds; as they are where it does not come to hold (sacct lags)."""
        until_s = time.monotonic() + _LEFT_S
        while not condition() and time.monotonic() < until_s:
            time.sleep(0.5)
        return self.jobs()
