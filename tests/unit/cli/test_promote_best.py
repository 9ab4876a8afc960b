"""`checkpoint: {best: METRIC}`: which epoch is promoted, and the sentence where none is."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.mmcv_logs import mmcv_text
from support.stage_on_disk import OnDisk
from trainrelay.cli.stage import accept
from trainrelay.config import Config
from trainrelay.errors import Refusal
from trainrelay.operations.promote import promote_stage, refuse_other_training
from trainrelay.operations.report import write_report
from trainrelay.operations.train import train_stage
from trainrelay.records import AttemptRecord, Best, CheckpointRecord, ResumePoint
from trainrelay.system.files import read_record, sha256_of, write_json
from trainrelay.training import state
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

EPOCHS = 6
AMOTA = dict(enumerate((0.10, 0.35, float("nan"), 0.36, 0.36, 0.30), start=1))
PREFIX = "pts_bbox_NuScenes"
BEST = {"best": "amota", "mode": "max"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """epoch_1.pth to epoch_6.pth as mmcv saves them."""
    torch = pytest.importorskip("torch")
    folder: Path = tmp_path_factory.mktemp("saved")
    for epoch in range(1, EPOCHS + 1):
        optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        whole = {"meta": {"epoch": epoch, "iter": epoch * 10}, "optimizer": optimizer}
        torch.save({**whole, "state_dict": {"w": torch.full((2,), epoch / 7)}}, folder / f"epoch_{epoch}.pth")
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


class Stage:
    """The stage r/s of 6 epochs, in some attempts, each epoch evaluated."""

    def __init__(self, disk: OnDisk, saved: Path) -> None:
        self.disk, self.saved, self.attempts = disk, saved, 0
        self.work_dir = disk.paths.work_dir
        self.work_dir.mkdir(parents=True)

    def attempt(
        self,
        amota: Mapping[int, float] = AMOTA,
        *,
        after: int = 0,
        until: int = EPOCHS,
        validation: bool = True,
        **log: Any,
    ) -> None:
        """One attempt that trains, saves and evaluates epochs; its log also has one of a single class."""
        self.attempts += 1
        folder = self.disk.paths.folder / f"attempts/{self.attempts:03d}"
        folder.mkdir(parents=True)
        text = mmcv_text(
            epochs=EPOCHS, iters_per_epoch=10, interval=5, resumed=after or None, stop=(until, 10), **log
        )
        for epoch in range(after + 1, until + 1):
            self.save(epoch)
            said = f"Saving checkpoint at {epoch} epochs\n"
            row = f"{PREFIX}/amota: {amota[epoch]}, {PREFIX}/NDS: {0.1 * epoch:.2f}, car/AP: 0.5"
            val = f"2024-05-09 12:00:00,011 - mmdet - INFO - Epoch(val) [{epoch}][753]\t{row}\n"
            text = text.replace(said, said + val) if validation else text
        (folder / "trainer.log").write_text(text)
        self._record(folder, after, until)
        self.disk.identify()

    def save(self, epoch: int, name: str = "") -> Path:
        path = self.work_dir / (name or f"epoch_{epoch}.pth")
        path.write_bytes((self.saved / f"epoch_{epoch}.pth").read_bytes())
        return path

    def _record(self, folder: Path, after: int, until: int) -> None:
        record: AttemptRecord = self.disk._attempt(folder / "trainer.log", 1.0)
        last, point = self.work_dir / f"epoch_{until}.pth", self.work_dir / f"epoch_{after}.pth"
        facts = self.disk.facts().model_copy(update={"file": sha256_of(last), "epoch": until})
        done = until == EPOCHS
        found = {
            "number": self.attempts,
            "epochs": EPOCHS,
            "end": "done" if done else "killed",
            "last_epoch": until,
            "final_checkpoint": facts if done else None,
            "resumed_from": ResumePoint(path=str(point), epoch=after) if after else None,
        }
        write_json(folder / "attempt.json", record.model_copy(update=found))

    def config(self, **settings: Any) -> Config:
        return self.disk.config(**{"epochs": EPOCHS, "checkpoint": BEST, **settings})

    def at(self, **settings: Any) -> StageContext:
        return StageContext(self.config(**settings), "r", "s")

    def promote(self, **settings: Any) -> CheckpointRecord:
        train_stage(self.at(**settings))
        promote_stage(self.at(**settings))
        record = read_record(self.disk.paths.checkpoint, CheckpointRecord)
        assert record is not None
        return record

    def best(self, **settings: Any) -> Best:
        best = self.promote(**settings).best
        assert best is not None
        assert self.disk.paths.target is not None
        promoted = (self.saved / f"epoch_{best.first.done}.pth").read_bytes()
        assert self.disk.paths.target.read_bytes() == promoted
        return best


@pytest.fixture
def stage(disk: OnDisk, saved: Path) -> Stage:
    return Stage(disk, saved)


def test_the_best_epoch_is_promoted_of_equals_the_earliest_and_never_nan(stage: Stage) -> None:
    stage.attempt()
    best = stage.best()
    assert str(best) == (
        "best amota (max): 0.36 at epoch 4, the earliest of equals with a file; then 0.36 at epoch 5,"
        " 0.35 at epoch 2, 0.3 at epoch 6"
    )
    train = state.read(stage.at()).train
    assert train is not None
    assert train.final_checkpoint.epoch == EPOCHS, "the training ends with its last epoch"


def test_of_equals_one_that_has_a_file_is_no_second_best(stage: Stage) -> None:
    """A trainer that keeps the last few keeps no others."""
    stage.attempt()
    (stage.work_dir / "epoch_4.pth").unlink()
    best = stage.best()
    assert [best.first.done, *(one.done for one in best.runners_up)] == [5, 4, 2, 6]


def test_a_last_epoch_without_its_evaluation_is_named(stage: Stage) -> None:
    """A rank was killed in it, and all epochs were trained."""
    stage.attempt()
    log = stage.disk.paths.folder / "attempts/001/trainer.log"
    log.write_text(
        "".join(line for line in log.read_text().splitlines(keepends=True) if "(val) [6]" not in line)
    )
    assert str(stage.best()).endswith("0.35 at epoch 2, 0.1 at epoch 1; epoch 6 was not evaluated")


@pytest.mark.process
def test_the_choice_is_printed_and_in_the_report(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.attempt()
    said = str(stage.best())
    assert f"r/s: epoch 4 is promoted: {stage.disk.paths.target}; {said}" in capsys.readouterr().err
    assert said in write_report(stage.config(), "r").read_text()


@pytest.mark.parametrize(
    ("asked", "epoch"),
    [
        ({"best": f"{PREFIX}/amota", "mode": "max"}, 4),
        ({"best": "amota", "mode": "max"}, 4),
        ({"best": "amota", "mode": "min"}, 1),
        ({"best": "NDS", "mode": "max"}, 6),
    ],
)
def test_a_metric_is_named_whole_or_by_its_end(stage: Stage, asked: dict[str, str], epoch: int) -> None:
    stage.attempt()
    assert stage.best(checkpoint=asked).first.done == epoch


def other_weights(path: Path) -> bytes:
    """The checkpoint with other numbers in it."""
    torch = pytest.importorskip("torch")
    whole = torch.load(path, weights_only=True)
    whole["state_dict"]["w"] += 1
    torch.save(whole, other := path.with_name("other.pth"))
    return other.read_bytes()


def refused(stage: Stage, **settings: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        stage.promote(**settings)
    assert not stage.disk.paths.checkpoint.exists()
    assert str(refusal.value).startswith("r/s: ")
    return str(refusal.value)


SET = (
    "set `checkpoint: {best: METRIC, mode: max}` to a metric that it logs, `checkpoint: {epoch: N}` or"
    " `checkpoint: latest` (epoch 6)"
)
NOT_A_NUMBER = dict.fromkeys(AMOTA, float("nan"))


@pytest.mark.parametrize(
    ("attempt", "asked", "wanted"),
    [
        (
            {},
            {"best": "amotta", "mode": "max"},
            "no metric of its validation is called amotta; did you mean amota?; it logs"
            f" {PREFIX}/amota, {PREFIX}/NDS, car/AP",
        ),
        ({"validation": False}, BEST, "its log shows no validation"),
        (
            {"amota": NOT_A_NUMBER},
            BEST,
            "amota is not finite in any evaluation up to epoch 6",
        ),
    ],
)
def test_without_a_value_nothing_is_promoted(
    stage: Stage, attempt: dict[str, Any], asked: dict[str, str], wanted: str
) -> None:
    stage.attempt(**attempt)
    said = refused(stage, checkpoint=asked)
    assert f"no epoch is known to have the best {asked['best']} (max): {wanted}; {SET}" in said


def test_where_its_logs_are_gone_nothing_is_promoted(stage: Stage) -> None:
    stage.attempt()
    (stage.disk.paths.folder / "attempts/001/trainer.log").unlink()
    assert "the log of attempt 1 is gone" in refused(stage)


def test_where_the_best_epoch_has_no_file_the_best_that_has_one_is_named_and_not_taken(stage: Stage) -> None:
    stage.attempt()
    for epoch in (2, 4, 5):
        (stage.work_dir / f"epoch_{epoch}.pth").unlink()
    said = refused(stage)
    assert "the best amota (max) is 0.36 at epoch 4, and " in said
    assert "no checkpoint of that epoch's weights; the best that has one is 0.3 at epoch 6;" in said
    assert "set `checkpoint: {epoch: 6}`; for the next training" in said
    assert "max_keep_ckpts" in said
    assert "the best amota (max) is 0.36 at epoch 4" in stage_plan(stage.at()).reason, "a plan shows it, too"


def test_what_evalhook_saved_as_the_best_is_the_file_of_its_epoch(stage: Stage) -> None:
    stage.attempt()
    (stage.work_dir / "epoch_4.pth").unlink()
    kept = stage.save(4, "best_pts_bbox_NuScenes_amota_epoch_4.pth")
    assert stage.best().first.done == 4
    assert stage.promote().source.file.path == str(kept)


def test_of_an_epoch_that_was_trained_twice_the_newest_row_and_weights_count(stage: Stage) -> None:
    """A copy of the best that an earlier attempt saved holds other weights than those that were evaluated."""
    stage.attempt({**AMOTA, 4: 0.9}, until=4)
    stage.attempt({**AMOTA, 4: 0.5}, after=3)
    record = stage.disk.paths.folder / "attempts/002/attempt.json"
    second = read_record(record, AttemptRecord)
    assert second is not None
    write_json(record, second.model_copy(update={"started_s": 1000.0, "ended_s": 2000.0}))
    (stage.work_dir / "epoch_4.pth").unlink()
    stale = stage.save(4, "best_pts_bbox_NuScenes_amota_epoch_4.pth")
    os.utime(stale, (900.0, 900.0))
    assert "the best amota (max) is 0.5 at epoch 4, and " in refused(stage)
    os.utime(stale, (1500.0, 1500.0))
    best = stage.best()
    assert (best.first.value, best.attempt) == (0.5, 2)


def test_a_file_saved_within_the_next_epoch_does_not_hold_the_evaluated_weights(stage: Stage) -> None:
    stage.attempt({**AMOTA, 5: 0.34})
    record = stage.disk.paths.folder / "attempts/001/attempt.json"
    first = read_record(record, AttemptRecord)
    assert first is not None
    saved_ns = (stage.work_dir / "epoch_4.pth").stat().st_mtime_ns
    write_json(record, first.model_copy(update={"within": {saved_ns: 5}}))
    assert "no checkpoint of that epoch's weights" in refused(stage)


def test_once_promoted_no_file_in_the_work_dir_is_needed_and_none_is_replaced(stage: Stage) -> None:
    stage.attempt()
    stage.best()
    for path in stage.work_dir.glob("epoch_*.pth"):
        path.unlink()
    assert state.current(stage.at()).kind == "complete"
    stage.disk.paths.checkpoint.unlink()  # as Snakemake does before it promotes again
    assert stage.best().first.done == 4
    stage.disk.paths.checkpoint.unlink()
    stage.save(EPOCHS)
    stage.save(4).write_bytes(other_weights(stage.saved / "epoch_4.pth"))
    with pytest.raises(Refusal, match="is not the checkpoint that was recorded"):
        promote_stage(stage.at())


def test_another_metric_promotes_another_epoch_and_the_next_stage_waits_for_that(stage: Stage) -> None:
    stage.attempt()
    stage.best()
    changed = stage.at(checkpoint={"best": "NDS", "mode": "max"})
    with pytest.raises(Refusal, match=r"was best amota \(max\), the config asks for best NDS \(max\)"):
        refuse_other_training(state.read(changed))
    assert stage.best(checkpoint={"best": "NDS", "mode": "max"}).first.done == 6
    refuse_other_training(state.read(changed))
    latest = stage.promote(checkpoint="latest")
    assert (latest.best, latest.source.epoch) == (None, EPOCHS)


def test_what_is_accepted_is_the_best_epochs_checkpoint(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.attempt(metrics={"loss": lambda step: float("nan") if step > 30 else 5.0})
    with pytest.raises(Refusal, match="non-finite"):
        stage.promote()
    monkeypatch.setattr("trainrelay.cli.stage.stage_of", lambda _: stage.at())
    accept(argparse.Namespace(which="r/s", reason="seen", retrain=False, configfile=None))
    record = stage.promote()
    assert (record.accepted, record.best and record.best.first.done) == ("seen", 4)


def test_the_best_that_was_accepted_is_not_the_latest(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Your word for one checkpoint of a finished training is none for what another choice promotes."""
    stage.attempt(metrics={"loss": lambda step: float("nan") if step > 30 else 5.0})
    train_stage(stage.at())
    monkeypatch.setattr("trainrelay.cli.stage.stage_of", lambda _: stage.at())
    accept(argparse.Namespace(which="r/s", reason="seen", retrain=False, configfile=None))
    latest = stage.at(checkpoint="latest")
    stage.disk.paths.train.unlink()
    train_stage(latest)
    train = state.read(latest).train
    assert train is not None
    assert train.final_checkpoint.epoch == EPOCHS


def test_an_unfinished_training_that_is_accepted_is_promoted_as_it_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user takes its newest checkpoint in place of more training, so nothing is chosen."""
    stage.attempt(until=5)
    monkeypatch.setattr("trainrelay.cli.stage.stage_of", lambda _: stage.at())
    accept(argparse.Namespace(which="r/s", reason="enough", retrain=False, configfile=None))
    record = stage.promote()
    assert (record.accepted, record.best, record.source.epoch) == ("enough", None, 5)


def test_a_plan_names_what_is_promoted(stage: Stage) -> None:
    assert "6 epochs, promotes the best amota (max), config a.py" in stage_plan(stage.at()).asks()
