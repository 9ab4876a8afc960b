"""Plan, train and promote say the same of a training that the config asks otherwise for now."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import detr_like
from support.mmcv_logs import write_mmcv_log
from support.toy_project import arguments
from trainrelay.checkpoint import inspect
from trainrelay.cli import common
from trainrelay.cli.stage import accept
from trainrelay.config import Config, StagePaths, parse, stage_paths
from trainrelay.errors import Refusal
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.records import FORMAT, AttemptRecord, EpochBases, Identity
from trainrelay.system.alive import here, stat
from trainrelay.system.files import write_json
from trainrelay.training import state
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan
from trainrelay.training.signature import ingredients


@dataclass(frozen=True)
class OneFile:
    """A stage whose checkpoints count epochs from 0, and hold what a test saves."""

    base: Path

    def config(self, epochs: int = 3, epoch_base: int | None = None, **stage: Any) -> Config:
        settings = {"config": "main.py", "epochs": epochs, "backends": ["gloo"], "gate": False, **stage}
        trainer = {"kind": "metriclogger", "root": str(self.base), "entry": "main.py", "device": "cpu"}
        trainer |= {"nproc_per_node": 1, "epoch_base": epoch_base}
        runs = {"r": {"trainer": trainer, "stages": {"s": settings}}}
        return parse({"out": str(self.base / "runs"), "runs": runs})

    @property
    def paths(self) -> StagePaths:
        return stage_paths(self.config(), "r", "s")

    def save(self, epoch: int, name: str = "checkpoint.pth") -> Path:
        """The checkpoint after that epoch."""
        torch = pytest.importorskip("torch")
        self.paths.work_dir.mkdir(parents=True, exist_ok=True)
        whole = {"model": {"w": torch.ones(1) * epoch}, "optimizer": {"state": {}}, "epoch": epoch - 1}
        torch.save(whole, self.paths.work_dir / name)
        return self.paths.work_dir / name

    def attempt(self, number: int, asked: int, final: Path | None = None, **changes: Any) -> None:
        """What an attempt leaves; `final` is the checkpoint with which it ended."""
        folder = self.paths.folder / f"attempts/{number:03d}"
        folder.mkdir(parents=True)
        record = {
            "number": number,
            "tag": f"tag {number}",
            "host": socket.gethostname(),
            "supervisor_pid": os.getpid(),
            "place": here(),
            "supervisor_ticks": stat(os.getpid()).ticks,
            "argv": [],
            "env": {},
            "cwd": "/",
            "log": str(write_mmcv_log(folder / "trainer.log", epochs=asked)),
            "backend": "gloo",
            "world_size": 1,
            "epochs": asked,
            "epoch_bases": EpochBases(printed=0, saved=1),
            "resumed_from": None,
            "started_s": float(number),
            "ended_s": number + 0.5,
            "end": "done" if final else "killed",
            "final_checkpoint": inspect(final, 1) if final else None,
        }
        write_json(folder / "attempt.json", AttemptRecord.model_validate({**record, **changes}))
        parts = ingredients(StageContext(self.config(), "r", "s"))
        write_json(
            self.paths.identity,
            Identity(format=FORMAT, run="r", stage="s", ingredients=parts, initial_checkpoint=None),
        )

    def refused(self, config: Config) -> str:
        """The sentence that all three say."""
        said = state.current(StageContext(config, "r", "s"))
        assert said.kind == "refused", said
        assert stage_plan(StageContext(config, "r", "s")).reason == said.reason
        for verb in (train_stage, promote_stage):
            with pytest.raises(Refusal) as refused:
                verb(StageContext(config, "r", "s"))
            assert str(refused.value) == f"r/s: {said.reason}"
        return said.reason

    def completes(self, config: Config) -> int | None:
        """The epoch that all three agree on and that is promoted."""
        train_stage(StageContext(config, "r", "s"))
        assert state.current(StageContext(config, "r", "s")).kind == "complete"
        assert stage_plan(StageContext(config, "r", "s")).action == "nothing"
        promote_stage(StageContext(config, "r", "s"))
        facts = state.read(StageContext(config, "r", "s"))
        assert facts.train
        return facts.train.final_checkpoint.epoch


@pytest.fixture
def stage(tmp_path: Path) -> OneFile:
    shutil.copy(detr_like.__file__, tmp_path / "main.py")
    return OneFile(tmp_path)


def accepted(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "configured", lambda _: config)
    accept(arguments(reason="as it is", retrain=False))


def further(stage: OneFile) -> None:
    """3 epochs trained and recorded in train.json, then epochs raised to 5 and killed after the fourth."""
    stage.attempt(1, 3, stage.save(3))
    assert stage.completes(stage.config()) == 3
    stage.save(4)
    stage.attempt(2, 5)


def test_raised_and_lowered_again_where_the_one_file_is_written_over(
    stage: OneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train.json still tells of epoch 3, whose file is gone."""
    further(stage)
    said = stage.refused(stage.config())
    assert "epochs is 3, but 4 epochs are trained and epoch 3 has no checkpoint; set epochs: 4" in said
    assert state.current(StageContext(stage.config(epochs=4), "r", "s")).kind == "resumable"
    accepted(stage.config(), monkeypatch)
    assert stage.completes(stage.config()) == 4


@pytest.mark.process  # git
def test_lowered_while_it_trains_towards_more(stage: OneFile) -> None:
    """Nobody saw it finish 3 epochs, as it was killed after the fourth: no start says that it did."""
    stage.save(4)
    stage.attempt(1, 5)
    said = state.current(StageContext(stage.config(), "r", "s"))
    assert said.kind == "refused"
    with pytest.raises(Refusal, match="set epochs: 4, or take what is there as it is"):
        train_stage(StageContext(stage.config(), "r", "s"))
    assert stage.completes(stage.config(epochs=4)) == 4


def test_a_trainer_that_went_past_what_it_was_asked_for_is_finished(stage: OneFile) -> None:
    stage.attempt(1, 3, stage.save(4))
    assert stage.completes(stage.config()) == 4
    stage.attempt(2, 6)  # raised and killed before it saved
    assert stage.completes(stage.config()) == 4
    assert (
        "epochs raised from 4 to 6"
        not in state.current(StageContext(stage.config(epochs=6), "r", "s")).reason
    )


def test_what_is_promoted_stays_complete_when_its_files_are_deleted(stage: OneFile) -> None:
    """Lowered to an epoch that had its file, promoted, and cleaned up."""
    copied = {"promotion": {"target": "ckpts/s.pth"}}
    stage.save(2, "ep2.pth")
    stage.attempt(1, 3, stage.save(3, "ep3.pth"))
    assert stage.completes(stage.config(epochs=2, **copied)) == 2
    for path in stage.paths.work_dir.iterdir():
        path.unlink()
    assert stage.completes(stage.config(epochs=2, **copied)) == 2
    assert stage.completes(stage.config(epochs=2, epoch_base=0, **copied)) == 2


def test_what_train_json_tells_is_not_believed_over_the_attempts(stage: OneFile) -> None:
    """Epoch 2 of 3 was promoted; its file is deleted, then the config asks for 2 epochs."""
    second = stage.save(2, "ep2.pth")
    stage.attempt(1, 3, stage.save(3, "ep3.pth"))
    assert stage.completes(stage.config(epochs=2)) == 2
    second.unlink()
    assert "epochs is 2, but 3 epochs are trained" in stage.refused(stage.config(epochs=2))


@pytest.mark.parametrize("names", [("checkpoint.pth",) * 3, ("ep1.pth", "ep2.pth", "ep3.pth")])
def test_another_epoch_base_than_the_one_that_counted_it_to_its_end(
    stage: OneFile, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    final = [stage.save(epoch, name) for epoch, name in enumerate(names, 1)][-1]
    stage.attempt(1, 3, final)
    assert stage.completes(stage.config()) == 3
    said = stage.refused(stage.config(epoch_base=0))
    assert (
        "epoch_base is 0, but attempt 1 counted its checkpoints with 1 to the end; set epoch_base: 1" in said
    )
    assert stage.completes(stage.config(epoch_base=1)) == 3
    accepted(stage.config(epoch_base=0), monkeypatch)
    stage.completes(stage.config(epoch_base=0))


def test_a_promotion_says_that_the_training_is_not_finished_as_train_does(stage: OneFile) -> None:
    """train.json is there from before."""
    further(stage)
    with pytest.raises(
        Refusal, match=r"r/s is resumable: .*; run: snakemake --profile local --forcerun \S+/r/s/train.json"
    ):
        promote_stage(StageContext(stage.config(epochs=5), "r", "s"))


@pytest.mark.process  # git
def test_what_was_accepted_is_void_by_another_attempt_and_by_no_clock(
    stage: OneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host of an attempt may be years ahead, or behind."""
    os.utime(stage.save(2), (4e9 + 1, 4e9 + 1))
    stage.attempt(1, 3, started_s=4e9, ended_s=4e9 + 1)
    accepted(stage.config(), monkeypatch)
    assert stage.completes(stage.config()) == 2
    stage.attempt(2, 3)
    assert state.current(StageContext(stage.config(), "r", "s")).kind == "resumable"
