"""One project in which one fault is played: its config, its launches, what it left on disk."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from faults.fault import Measurement
from faults.launch import PATIENCE_S, Launch
from faults.stamps import Stamps, read_stamps
from support.project import CONFIG, make_project
from support.supervising import carrying
from trainrelay.records import AttemptRecord, TrainRecord
from trainrelay.training.attempts import list_attempts

INJECTED = Path(__file__).with_name("injected")
MARK = "TRAINRELAY_FAULT"  # in the environment of all that a row starts
STAGE = "driving/stage1"
EPOCHS, ITERATIONS = 3, 4
TRAIN = ("trainrelay", "train", STAGE)
SNAKEMAKE = ("snakemake", "--cores", "2")
IN_ALLOCATION = {"SLURM_JOB_ID": "7"}  # by which a start knows that GPUs would idle


class Bench:
    """A fresh project, and everything that a row asks of it."""

    def __init__(self, folder: Path) -> None:
        self.project = make_project(folder)
        self.folder = folder
        self.mark = str(uuid.uuid4())
        self.plan = folder / "injected" / "plan.json"
        self._moments: list[dict[str, Any]] = []
        self.undo = ExitStack()  # done when everything was looked at
        self.where = STAGE
        self.apart: set[str] = set()  # tags of attempts beside which others may train, in another work dir
        self.judged_by_row: set[Path] = set()  # checkpoints that do not stay where and as they were
        shutil.copytree(INJECTED, self.plan.parent, ignore=shutil.ignore_patterns("*.pyc", "__pycache__"))
        config = self.plan.with_name("track_map_injected.py")
        config.rename(folder / "workflow/demo/driving/projects/configs/stage1_track_map" / config.name)
        self.plan.write_text("[]")
        self.project.configure(self._injectable)

    def _injectable(self, data: dict[str, Any]) -> None:
        driving = data["runs"]["driving"]
        driving["trainer"]["env"]["PYTHONPATH"] = str(self.plan.parent)
        driving["stages"] = {"stage1": dict(CONFIG["runs"]["driving"]["stages"]["stage1"])}
        stage = driving["stages"]["stage1"]
        stage.update(epochs=EPOCHS, config="./projects/configs/stage1_track_map/track_map_injected.py")
        stage["checkpoint_interval_min"] = (
            0  # a trainer that is held could save none; rows/steps.py is for these
        )
        stage["options"] = {**stage["options"], "data.train.length": 8 * ITERATIONS}

    # ------------------------------------------------------------------ before and while it trains

    def inject(self, *faults: dict[str, Any], **fault: Any) -> None:
        """The plan of injected/injected_faults.py, in place of any before."""
        self.plan.write_text(json.dumps([*faults, *([fault] if fault else [])]))

    def configure(self, **settings: Any) -> None:
        """Keys of stage1 in config.yaml; `rungs` is the config's own."""
        rungs = settings.pop("rungs", None)

        def change(data: dict[str, Any]) -> None:
            data["runs"]["driving"]["stages"]["stage1"].update(settings)
            if rungs is not None:
                data["rungs"] = rungs

        self.project.configure(change)

    def options(self) -> dict[str, Any]:
        """The options of stage1 in config.yaml."""
        data = yaml.safe_load((self.folder / "config.yaml").read_text())
        return dict(data["runs"]["driving"]["stages"]["stage1"]["options"])

    def injected_now(self, kind: str) -> None:
        """A fault that does not happen inside a rank happens now."""
        # Also in the work dirs that takeovers began.
        paths = self.stage.glob("work_dir*/epoch_*.pth")
        digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        self._moments.append({"kind": kind, "at_s": time.time(), "checkpoints": digests})

    def start(self, *argv: str, **env: str) -> Launch:
        """A command in the background: a Python module and its arguments, with more environment."""
        return Launch(list(argv), self.folder, {MARK: self.mark, **env})

    def ended(self, *argv: str, **env: str) -> Launch:
        """A command, once it has ended."""
        launch = self.start(*argv, **env)
        launch.wait()
        return launch

    def train(self) -> Launch:
        """`trainrelay train` of the stage, once it has ended."""
        return self.ended("trainrelay", "train", self.where)

    def interrupted(self, epoch: int) -> None:
        """The stage is trained until an epoch has begun, and then interrupted there by SIGTERM."""
        self.inject(kind="collective", rank=1, epoch=epoch, iteration=1)
        launch = self.start("trainrelay", "train", self.where)
        self.wait_for(f"epoch {epoch}", lambda: self.stamps().of("fired"))
        launch.process.send_signal(signal.SIGTERM)
        assert launch.wait() == 75, f"the interrupted training said:\n{launch.text}"
        self.inject()

    def held(self, *argv: str, later: tuple[tuple[int, int], ...] = (), **env: str) -> Launch:
        """A command in the background whose trainer is held in epoch 2, iteration 3, until it may continue.

        At the `later` places the first trainer that comes there is held, too.
        """
        gates = ((2, 3), *later)
        held = ({"kind": "wait", "rank": 0, "epoch": e, "iteration": i} for e, i in gates)
        self.inject({"kind": "paced"}, *held)
        launch = self.start(*argv, **env)
        self.wait_for("the trainer in epoch 2", lambda: launch.ended or self.stamps().of("fired"))
        assert not launch.ended, f"it ended before its trainer came to epoch 2, and said:\n{launch.text}"
        return launch

    def go_on(self, epoch: int = 2, iteration: int = 3) -> None:
        """A trainer that is held there continues."""
        self.plan.with_name(f"go-on-{epoch}-{iteration}").touch()

    def snakemake(self, *arguments: str) -> Launch:
        """A whole Snakemake run, once it has ended."""
        return self.ended(*SNAKEMAKE, *arguments)

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        """The condition's first true value; fails where it never comes true."""
        until_s = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < until_s, f"waited {PATIENCE_S:g} s for {what}"
            time.sleep(0.05)
        return value

    def said_at(self, launch: Launch, pattern: str) -> float:
        """When a launch that may still run first said something; fails where it ends without."""
        self.wait_for(f"the words {pattern!r}", lambda: launch.ended or re.search(pattern, launch.text))
        launch.heard()
        return launch.said_at(pattern)

    # ------------------------------------------------------------------ what it left

    @property
    def stage(self) -> Path:
        """The folder of the stage, driving/stage1 unless a row says otherwise."""
        return self.folder / "runs" / self.where

    @property
    def work_dir(self) -> Path:
        """The folder of stage1's checkpoints."""
        return self.stage / "work_dir"

    @property
    def promoted(self) -> Path:
        """The promotion target of stage1."""
        return self.folder / "workflow/demo/driving/ckpts/track_map.pth"

    def stamps(self) -> Stamps:
        """What the ranks stamped."""
        return read_stamps(self.plan.with_name("stamps.jsonl"))

    def moments(self) -> list[dict[str, Any]]:
        """Every injection, oldest first: `kind`, `at_s`, `checkpoints`."""
        moments = [self._to_stay(moment) for moment in (*self._moments, *self.stamps().of("fired"))]
        return sorted(moments, key=lambda moment: moment["at_s"])

    def _to_stay(self, moment: dict[str, Any]) -> dict[str, Any]:
        found = moment["checkpoints"].items()
        stay = {path: digest for path, digest in found if Path(path) not in self.judged_by_row}
        return {**moment, "checkpoints": stay}

    def new_training(self) -> None:
        """What is trained from now on is another training, which redoes nothing."""
        with self.plan.with_name("stamps.jsonl").open("a") as file:
            file.write(json.dumps({"event": "new-training", "at_s": time.time()}) + "\n")

    def attempts(self) -> tuple[AttemptRecord, ...]:
        """The attempts of stage1."""
        return list_attempts(self.stage)

    def log(self, number: int) -> str:
        """An attempt's console."""
        return (self.stage / f"attempts/{number:03d}/trainer.log").read_text(errors="replace")

    def processes(self) -> list[int]:
        """Every living process that a row of this bench started, whatever became of its parents."""
        return carrying(self.mark, MARK)

    def jobs_left(self) -> list[str]:
        """A sentence for each Slurm job that a row left behind; off the rig there is none."""
        return []

    def same(self, checkpoints: dict[str, str], folder: Path) -> None:
        """A folder holds checkpoints that lay elsewhere, as they were."""
        for name, digest in checkpoints.items():
            path = folder / Path(name).name
            assert path.exists(), f"{path} is missing"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, f"{path} is not as it was"

    def complete(self) -> bool:
        """Whether train.json tells of the last epoch's (iteration's) checkpoint."""
        path = self.stage / "train.json"
        if not path.exists():
            return False
        told = TrainRecord.model_validate_json(path.read_bytes())
        return told.final_checkpoint.epoch == EPOCHS or told.final_checkpoint.iteration == told.iters

    # ------------------------------------------------------------------ what rows have in common

    def noticed_after_s(self, record: AttemptRecord) -> float:
        """From the injection during an attempt to the record of its end."""
        begun_s, ended_s = record.started_s, record.ended_s
        assert ended_s is not None, f"attempt {record.number} has no end"
        during = [one["at_s"] for one in self.moments() if begun_s <= one["at_s"] <= ended_s]
        assert during, f"nothing was injected into attempt {record.number}; injected was: {self.moments()}"
        return float(ended_s - during[0])

    def resumed(self, launch: Launch, *ends: str) -> Measurement:
        """The launch continued by itself after attempts that ended so, and completed the stage."""
        status, records = launch.wait(), self.attempts()
        found = [record.end for record in records]
        assert found == [*ends, "done"], f"the attempts ended {ends_of(records)}; it said:\n{launch.text}"
        assert status == 0, f"the launch ended with exit status {status} and said:\n{launch.text}"
        assert self.complete(), "train.json does not tell of the last epoch"
        last, noticed = records[-1], [self.noticed_after_s(record) for record in records[:-1]]
        return Measurement(max(noticed), ", ".join(ends), next_attempt(last), "completes")

    def passes_over(self, name: str, after: int, **place: int) -> Measurement:
        """The newest checkpoint, of this name, is cut short there; the one before it is resumed from."""
        self.judged_by_row.add(self.work_dir / name)
        self.inject(kind="newest-truncated", rank=0, **place)
        launch = self.train()
        seen = self.resumed(launch, "killed")
        point = self.attempts()[1].resumed_from
        assert point, f"the second attempt began from scratch:\n{launch.text}"
        assert point.done == after, f"it resumed after {point}"
        said = [line for _, line in launch.lines if "not resumed from" in line]
        assert any(f"{name} is cut short" in line for line in said), (
            f"it does not say what it passed over, but: {said}\n{launch.text}"
        )
        return seen

    def final(self, launch: Launch, status: int, *ends: str) -> Measurement:
        """The launch ended for good after attempts that ended so, with one sentence and no traceback."""
        found_status, records = launch.wait(), self.attempts()
        found = [record.end for record in records]
        assert found == [*ends], f"the attempts ended {ends_of(records)}; it said:\n{launch.text}"
        assert_final(launch, found_status, status)
        assert not self.complete(), "train.json tells of a training that did not complete"
        noticed = self.noticed_after_s(records[-1])
        return Measurement(noticed, ends[-1], f"your decision (exit status {status})", "final")


def next_attempt(record: AttemptRecord) -> str:
    """What the supervisor did next, as its record tells."""
    point = record.resumed_from
    where = f"resumes after {point}" if point else "starts from the beginning"
    if record.resumed_step and record.not_resumed is None:
        where = "resumes at a step"
    return f"attempt {record.number} on {record.backend} {where}"


def assert_final(launch: Launch, found: int, status: int) -> None:
    """One sentence that says what to run, and the exit status by which it is known."""
    assert found == status, (
        f"the launch ended with exit status {found}, not {status}, and said:\n{launch.text}"
    )
    assert "Traceback" not in launch.text, f"it ended with a traceback:\n{launch.text}"
    last = launch.text.strip().splitlines()[-1]
    assert "un the same command again" in last, f"its last line does not say what to run:\n{launch.text}"


def ends_of(records: tuple[AttemptRecord, ...]) -> str:
    """The ends of attempts with their reasons, for a message."""
    return "; ".join(f"{record.number}: {record.end} ({record.reason})" for record in records) or "not at all"
