"""`checkpoint: {best: METRIC}` of a stage that counts iterations, as mmseg's `save_best`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.config import Config
from trainrelay.errors import Refusal
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.records import AttemptRecord, CheckpointRecord, ResumePoint
from trainrelay.system.files import read_record, sha256_of, write_json
from trainrelay.training import retention, state
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

ITERS, MIOU = 100, {20: 0.1, 40: 0.5, 60: 0.3, 80: 0.4, 100: 0.4}
CONFIG = "train_cfg = dict(type='IterBasedTrainLoop', max_iters=100, val_interval=20)\n"
CONFIG += "default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=20))\n"


def printed(first: int = 1, miou: dict[int, float] = MIOU, until: int = ITERS) -> str:
    """What mmengine prints: a line each 30 iterations, so none of those that are saved and evaluated."""
    said = ["Checkpoints will be saved to w."]
    if first > 1:
        said = ["Load checkpoint from w/i.pth", f"resumed epoch: 0, iter: {first - 1}"]
    lines = [f"06/05 20:00:00 - mmengine - INFO - {one}\n" for one in said]
    for at in range(first, until + 1):
        said = [f"Iter(train) [{at:3}/{ITERS}]  lr: 1.0000e-02  eta: 0:00:10  loss: {3 - at / 100:.4f}"]
        said = said if at % 30 == 0 else []
        if at in miou:
            said += [f"Saving checkpoint at {at} iterations"]
            said += [f"Iter(val) [500/500]    mIoU: {miou[at]:.4f}  data_time: 0.1  time: 0.2"]
        lines += [f"06/05 20:{at // 60:02}:{at % 60:02} - mmengine - INFO - {one}\n" for one in said]
    return "".join(lines)


class ByIteration(OnDisk):
    """A config whose stage counts iterations."""

    def config(
        self, guard_gpu_h: float = 8.0, trainer: Mapping[str, Any] | None = None, **stage: Any
    ) -> Config:
        asked = {"epochs": None, "iters": ITERS, "checkpoint": {"best": "mIoU", "mode": "max"}, **stage}
        return super().config(guard_gpu_h, {"kind": "mmengine", **(trainer or {})}, **asked)


class Stage:
    """The stage r/s of 100 iterations."""

    def __init__(self, disk: OnDisk) -> None:
        self.disk, self.work_dir, self.attempts = disk, disk.paths.work_dir, 0
        self.work_dir.mkdir(parents=True)

    def at(self, **settings: Any) -> StageContext:
        return StageContext(self.disk.config(**settings), "r", "s")

    def save(self, iteration: int, name: str = "", weight: float = 0.0) -> Path:
        torch = pytest.importorskip("torch")
        path = self.work_dir / (name or f"iter_{iteration}.pth")
        whole = {"meta": {"epoch": 0, "iter": iteration}, "state_dict": {"w": torch.full((2,), weight)}}
        torch.save({**whole, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}}, path)
        return path

    def attempt(self, text: str, after: int = 0, until: int = ITERS) -> None:
        """One attempt that printed this, and saved each 20 iterations."""
        self.attempts += 1
        folder = self.disk.paths.folder / f"attempts/{self.attempts:03d}"
        folder.mkdir(parents=True)
        (folder / "trainer.log").write_text(text)
        for at in range(after + 20, until + 1, 20):
            self.save(at)
        last, done = self.work_dir / f"iter_{until}.pth", until == ITERS
        facts = {"file": sha256_of(last), "epoch": None, "iteration": until}
        point = (
            ResumePoint(path=str(self.work_dir / f"iter_{after}.pth"), epoch=None, iteration=after)
            if after
            else None
        )
        found = {
            "number": self.attempts,
            "epochs": None,
            "iters": ITERS,
            "end": "done" if done else "killed",
            "last_epoch": 1,
            "last_iteration": until // 30 * 30,
            "saved_iteration": until,
            "final_checkpoint": self.disk.facts().model_copy(update=facts) if done else None,
            "resumed_from": point,
        }
        record: AttemptRecord = self.disk._attempt(folder / "trainer.log", 1.0)
        write_json(folder / "attempt.json", record.model_copy(update=found))
        self.disk.identify()

    def promote(self, **settings: Any) -> CheckpointRecord:
        train_stage(self.at(**settings))
        promote_stage(self.at(**settings))
        record = read_record(self.disk.paths.checkpoint, CheckpointRecord)
        assert record is not None
        return record


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    disk = ByIteration(tmp_path)
    disk.make_checkout()
    (tmp_path / "checkout/a.py").write_text(CONFIG)
    return Stage(disk)


def test_the_best_iteration_is_promoted(stage: Stage) -> None:
    stage.attempt(printed())
    record = stage.promote()
    assert record.source.iteration == 40
    assert str(record.best) == (
        "best mIoU (max): 0.5 at iteration 40; then 0.4 at iteration 80, 0.4 at iteration 100, 0.3 at"
        " iteration 60"
    )
    assert stage.disk.paths.target is not None
    assert stage.disk.paths.target.read_bytes() == (stage.work_dir / "iter_40.pth").read_bytes()
    assert state.current(stage.at()).kind == "complete"
    assert "100 iterations, promotes the best mIoU (max)" in stage_plan(stage.at()).asks()


def test_what_save_best_kept_is_the_file_of_its_iteration(stage: Stage) -> None:
    stage.attempt(printed())
    (stage.work_dir / "iter_40.pth").unlink()
    kept = stage.save(40, "best_mIoU_iter_40.pth")
    assert stage.promote().source.file.path == str(kept)


def test_without_its_file_the_best_iteration_that_has_one_is_named(stage: Stage) -> None:
    stage.attempt(printed())
    (stage.work_dir / "iter_40.pth").unlink()
    with pytest.raises(Refusal) as refusal:
        stage.promote()
    said = str(refusal.value)
    assert "the best mIoU (max) is 0.5 at iteration 40, and " in said
    assert "no checkpoint of that iteration's weights; the best that has one is 0.4 at iteration 80;" in said
    assert "to promote iteration 80, set `checkpoint: {iteration: 80}`;" in said
    assert "epoch" not in said


def test_another_name_is_refused_with_iterations_to_set(stage: Stage) -> None:
    stage.attempt(printed())
    with pytest.raises(Refusal, match=r"no iteration is known to have the best mAcc \(max\).*{iteration: N}"):
        stage.promote(checkpoint={"best": "mAcc", "mode": "max"})


def test_of_an_iteration_that_was_trained_twice_the_newest_value_and_weights_count(stage: Stage) -> None:
    stage.attempt(printed(until=45, miou={20: 0.1, 40: 0.9}), until=40)
    stage.attempt(printed(first=21), after=20)
    record = stage.promote()
    assert record.best is not None
    assert (record.best.first.value, record.best.attempt) == (0.5, 2)


def test_keep_leaves_the_best_iterations(stage: Stage) -> None:
    stage.attempt(printed())
    facts = state.read(stage.at(keep={"last": 1, "best": 2}))
    going = {one.count for one in retention.expendable(facts, [40, 80, 100, 60, 20])}
    assert going <= {20, 60}


def test_a_plan_does_not_doubt_a_file_that_tells_its_iteration_and_no_epoch(stage: Stage) -> None:
    torch = pytest.importorskip("torch")
    stage.attempt(printed(until=45), until=40)
    for path in stage.work_dir.glob("*.pth"):
        path.unlink()
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    whole = {"model": {"w": torch.ones(2)}, "optimizer": optimizer, "iter_num": 40}
    torch.save(whole, stage.work_dir / "ckpt.pt")
    script = {"kind": "script", "entry": "t.py", "script": {"command": "{interpreter} {entry} {iters}"}}
    planned = stage_plan(stage.at(trainer=script, checkpoint="latest"))
    assert [one for one in planned.notes if "neither resumed from nor promoted" in one] == []
