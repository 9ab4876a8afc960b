"""Trainings that are ended where drawn, continued, and compared bit by bit with one that was not."""

from __future__ import annotations

import copy
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from slurm.rig import Rig
from support.processes import ranks_of
from support.project import CONFIG, TIMEOUT_S, Project, make_project
from support.step_training import LENGTH, lines, rows, same, stop, train, weights
from trainrelay.training.attempts import list_attempts
from unit.hook.conftest import Ranks, Stage

STEPS, EPOCH, EPOCHS = 39, 13, 3
MMENGINE: dict[str, Any] = {"runner": "EpochBasedTrainLoop", "sampler": "DefaultSampler"}
CASES: dict[str, dict[str, Any]] = {
    "2 ranks": {},
    "4 ranks": {"world": 4},
    "4 ranks, unused parameters": {"world": 4, "unused": True},
    "2 ranks, workers that outlive an epoch": {"persistent": True},
    "2 ranks, unused parameters, cyclic schedule": {"unused": True, "policy": "cyclic"},
    "4 ranks, no scaler": {"world": 4, "scaled": False},
    "2 ranks, no accumulation, no EMA": {"scaled": False, "accumulate": 1, "ema": False, "policy": "cyclic"},
    "2 ranks, no workers, accumulation of 3": {"workers": 0, "accumulate": 3, "scaled": False},
    "2 ranks, mmengine": MMENGINE,
    "2 ranks, mmengine, unused parameters": {**MMENGINE, "unused": True},
    "1 rank, GroupSampler": {"world": 1, "sampler": "GroupSampler", "evaluate": False},
    "1 rank, RandomSampler": {"world": 1, "sampler": "RandomSampler", "evaluate": False},
}
DEMO, JOB = "`trainrelay train`", "`trainrelay train` in a job"
MINUTES = 4  # of a job
IN_JOB = {"hang_timeout_s": 600, "resources": {"gpu": 8, "gpu_model": "a40", "runtime_min": MINUTES}}
PLACES = {
    "iteration": "SIGKILL of rank {rank}",
    "evaluation": "SIGKILL of rank {rank} in the next evaluation",
    "saving": "SIGKILL of rank {rank} within the next save",
    "requested": "a save on request, then SIGKILL of rank {rank}",
    "sigterm": "SIGTERM of the supervisor",
    "stop": "`trainrelay stop`",
    "limit": "the job's time limit, for which it is held",
}


@dataclass(frozen=True)
class End:
    """How a training is ended, once this step is done."""

    place: str
    step: int
    rank: int

    @property
    def kind(self) -> str:
        return PLACES[self.place].format(rank=self.rank)

    def __str__(self) -> str:
        return f"{self.kind} from step {self.step} on"


@dataclass
class Training:
    """One that is ended some times; `every_s`: between two step checkpoints."""

    name: str
    ends: list[End]
    every_s: float
    continued: list[str] = field(default_factory=list)  # where, for each end that came
    rows: int = 0
    different: list[str] = field(default_factory=list)


def drawn(generator: random.Random) -> Iterator[Training]:
    """As many as asked for; every second one is the demo's, the others begin with each case once."""
    first = generator.sample([*CASES], len(CASES))
    for count in itertools.count():
        name = DEMO if count % 2 else first.pop() if first else generator.choice([*CASES])
        case, last = CASES.get(name, {}), EPOCHS * (LENGTH if name == DEMO else EPOCH)
        places = ["iteration", "iteration", "saving", "requested", "evaluation"]
        if name == DEMO:
            places = ["iteration", "sigterm", "stop"]
        elif not case.get("evaluate", True):
            places.remove("evaluation")
        begin = generator.randrange(1, last - LENGTH)  # the demo trains on while it is being ended
        later = range(begin, last) if generator.random() < 0.5 else range(begin, min(begin + 8, last))
        # The supervisor stops where three attempts in a row save nothing.
        begun = sorted([begin, *generator.choices(later, k=generator.randrange(2 if name == DEMO else 4))])
        ends = [
            End(generator.choice(places), step, generator.randrange(case.get("world", 2))) for step in begun
        ]
        yield Training(name, ends, generator.choice([0.0, 0.2, 3600.0]))


def in_jobs(generator: random.Random, number: int) -> Iterator[Training]:
    """So many that are each ended once, by the time limit."""
    for _ in range(number):
        yield Training(JOB, [End("limit", generator.randrange(1, (EPOCHS - 1) * LENGTH), 0)], 3600.0)


class Comparison:
    """The trainings that others are compared with, each trained once; jobs are on `rig`."""

    def __init__(self, folder: Path, rig: Rig | None = None) -> None:
        self._folder, self._rig, self._ranks, self._whole = folder, rig, Ranks(), dict[str, Any]()
        self._running: subprocess.Popen[str] | None = None

    def play(self, training: Training, folder: Path) -> None:
        """Ends and continues it; what came of that is noted in it."""
        (self._in_ranks if training.name in CASES else self._demo)(training, folder)

    def close(self) -> None:
        """Also in the midst of a training."""
        for one in psutil.Process(self._ranks.process.pid).children(recursive=True):
            one.kill()
        self._ranks.end()
        if self._running and self._running.poll() is None:
            for _ in range(2):  # the second time it waits for nothing
                self._running.send_signal(signal.SIGINT)
                time.sleep(1.0)
            self._running.wait(TIMEOUT_S)
        if self._rig:
            self._rig.heal()

    def _in_ranks(self, training: Training, folder: Path) -> None:
        case = CASES[training.name]
        if training.name not in self._whole:
            self._whole[training.name] = Stage(
                self._ranks, self._folder / f"whole-{len(self._whole)}", **case
            )
            assert set(self._whole[training.name].run()) == {0}, self._whole[training.name].output()
        whole, stage = self._whole[training.name], Stage(self._ranks, folder, **case)
        stage.steps["every_s"] = training.every_s
        for end in [*training.ends, None]:
            statuses = set(stage.run(die=end and {"rank": end.rank, "step": end.step, "place": end.place}))
            note = stage.note(0)
            if stage.attempts > 1:
                at = note.get("resumed")
                training.continued.append(f"step {at['step']}" if at else "the beginning")
                training.different += [note["not_resumed"]] if "not_resumed" in note else []
            if statuses == {0}:
                break
            if statuses != {-signal.SIGKILL}:
                training.different.append(f"exit statuses {statuses}: {stage.output()}")
                return
        training.rows = len(stage.rows())
        if stage.rows() != whole.rows():
            training.different.append("the log")
        for ours, theirs in zip(stage.ends(), whole.ends(), strict=True):
            training.different += [name for name in theirs if ours[name] != theirs[name]]

    def _demo(self, training: Training, folder: Path) -> None:
        if DEMO not in self._whole:
            self._whole[DEMO] = whole = _project(self._folder / "whole", hook=False)
            self._running = train(whole)
            assert self._ended() == 0, "the demo does not train"
        settings = {"hook": True, "exact": True, "checkpoint_interval_min": training.every_s / 60 or 1e-3}
        project = _project(folder, **settings, **(IN_JOB if training.name == JOB else {}))
        stage = project.stage("stage1")
        self._running = self._controller(project) if training.name == JOB else train(project)
        for end in training.ends:
            attempt = max(_newest(stage), 1)
            self._until(lambda attempt=attempt, step=end.step: _reached(project, attempt, step))
            if self._running.poll() is not None:
                break
            self._end(project, end)
            if end.place in ("iteration", "limit"):
                self._until(lambda attempt=attempt: _newest(stage) > attempt)
            elif self._ended() == 75:
                self._running = train(project)
        if status := self._ended():
            training.different.append(f"exit status {status}")
            return
        for one in list_attempts(stage)[1:]:
            step = one.resumed_step and f"step {one.resumed_step.step}"
            training.continued.append(step or ("the trainer's own" if one.resumed_from else "the beginning"))
            training.different += one.hook_problems
        whole = self._whole[DEMO]
        training.rows = len(set(lines(project)))
        training.different += [] if set(lines(project)) == set(lines(whole)) else ["the log"]
        training.different += [] if same(weights(project), weights(whole)) else ["weights or optimizer"]

    def _end(self, project: Project, end: End) -> None:
        assert self._running
        if end.place == "limit":
            self._held(project)
        elif end.place == "stop":
            stop(project).wait(TIMEOUT_S)
        elif end.place == "sigterm":
            self._running.send_signal(signal.SIGTERM)
        else:
            for one in ranks_of(project):
                if one.environ().get("RANK") == str(end.rank):
                    os.kill(one.pid, signal.SIGKILL)

    def _controller(self, project: Project) -> subprocess.Popen[str]:
        assert self._rig
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--until", "train_stage1"],
            cwd=project.folder,
            env=self._rig.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _held(self, project: Project) -> None:
        """The ranks do nothing until the supervisor, which Slurm has warned, asks for a step checkpoint."""
        held = ranks_of(project)
        for one in held:
            one.suspend()
        self._until((project.stage("stage1") / "attempts/001/hook/save-now").exists)
        for one in held:
            with suppress(psutil.Error):  # killed by then
                one.resume()

    def _ended(self) -> int:
        assert self._running
        if self._running.returncode is None:
            self._running.communicate(timeout=TIMEOUT_S)
        return self._running.returncode

    def _until(self, condition: Callable[[], bool]) -> None:
        """Or until it has ended."""
        assert self._running
        while self._running.poll() is None and not condition():
            time.sleep(0.02)


def _project(folder: Path, **settings: Any) -> Project:
    config = copy.deepcopy(CONFIG)
    stages = config["runs"]["driving"]["stages"]
    del stages["stage2"]
    stages["stage1"] |= {"epochs": EPOCHS, "validate": True, **settings}
    stages["stage1"]["options"] |= {"data.workers_per_gpu": 2, "evaluation.interval": 1}
    return make_project(folder, config)


def _newest(stage: Path) -> int:
    return max((one.number for one in list_attempts(stage)), default=0)


def _reached(project: Project, attempt: int, step: int) -> bool:
    return any(done >= step for done, _ in rows(project, attempt))
