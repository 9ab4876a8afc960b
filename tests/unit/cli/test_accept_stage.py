"""`trainrelay accept`: a person's word where one is needed, and nowhere else."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.cli import common
from trainrelay.cli.stage import accept
from trainrelay.config import Config
from trainrelay.errors import UserError
from trainrelay.operations.report import write_report
from trainrelay.operations.train_record import write_train_record
from trainrelay.records import FileDigest, Identity
from trainrelay.system.files import read_record, write_json
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan
from trainrelay.training.signature import ingredients
from trainrelay.training.state import read


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def accepted(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch, retrain: bool = False, config: Config | None = None
) -> None:
    config = config or disk.config()
    monkeypatch.setattr(common, "configured", lambda _: config)
    said = {"where": "r/s", "reason": "I know", "retrain": retrain}
    accept(argparse.Namespace(**said))


def test_what_nothing_blocks_needs_no_word(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.train()
    write_train_record(read(StageContext(disk.config(), "r", "s")))
    with pytest.raises(UserError, match="nothing is blocked, so there is nothing to accept"):
        accepted(disk, monkeypatch)
    assert not disk.paths.accepted.exists()


def test_a_blocked_checkpoint_is_accepted(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.train()
    write_train_record(read(StageContext(disk.config(), "r", "s")))
    (disk.paths.folder / "attempts/001/trainer.log").unlink()  # without its log nothing speaks for it
    accepted(disk, monkeypatch)
    assert disk.paths.accepted.exists()


def test_what_lies_set_aside_may_be_trained_once_more(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.train()
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    accepted(disk, monkeypatch, retrain=True)
    assert stage_plan(StageContext(disk.config(), "r", "s")).action == "train"


CHANGED = {"options": {"optimizer.lr": 0.2}}


def test_both_kinds_stand_beside_each_other(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is accepted, a change is accepted and reverted: the checkpoint still is."""
    disk.train()
    write_train_record(read(StageContext(disk.config(), "r", "s")))
    (disk.paths.folder / "attempts/001/trainer.log").unlink()
    accepted(disk, monkeypatch)
    changed = disk.config(guard_gpu_h=0.0, **CHANGED)
    assert stage_plan(StageContext(changed, "r", "s")).action == "refuse"
    accepted(disk, monkeypatch, retrain=True, config=changed)
    assert stage_plan(StageContext(changed, "r", "s")).action == "retrain"
    assert "taken as it is" in stage_plan(StageContext(disk.config(), "r", "s")).reason


def test_a_retraining_of_what_has_not_changed_is_not_accepted(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.train()
    with pytest.raises(
        UserError, match=r"r/s is complete \(2 of 2 epochs trained\): nothing would be archived"
    ):
        accepted(disk, monkeypatch, retrain=True)
    with pytest.raises(UserError, match=r"r/s is resumable .*: nothing would be archived"):
        accepted(disk, monkeypatch, retrain=True, config=disk.config(epochs=3))
    assert not disk.paths.may_retrain.exists()


def test_another_file_to_start_from_may_archive_what_is_to_be_resumed(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its content tells, which no plan reads."""
    disk.train()
    (disk.base / "checkout/a.py").write_text("load_from = 'start.pth'\n")
    (disk.base / "checkout/start.pth").write_bytes(b"new")
    disk.identify()
    identity = read_record(disk.paths.identity, Identity)
    assert identity
    old = FileDigest(path="start.pth", sha256="0" * 64, size=3)
    write_json(disk.paths.identity, identity.model_copy(update={"initial_checkpoint": old}))
    accepted(disk, monkeypatch, retrain=True, config=disk.config(epochs=3))
    assert disk.paths.may_retrain.exists()


@pytest.mark.process  # git
def test_a_retraining_that_was_accepted_and_reverted_is_not_reported(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.train()
    changed = disk.config(guard_gpu_h=0.0, **CHANGED)
    accepted(disk, monkeypatch, retrain=True, config=changed)
    for config, said in ((changed, True), (disk.config(), False)):
        page = write_report(config, "r").read_text(encoding="utf-8")
        assert ("Retraining this stage was accepted" in page) is said


def test_the_checkpoint_of_a_training_that_is_not_asked_for_is_not_accepted(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its train.json is there, though."""
    disk.train()
    write_train_record(read(StageContext(disk.config(), "r", "s")))
    (disk.paths.folder / "attempts/001/trainer.log").unlink()
    with pytest.raises(UserError, match=r"r/s is not the training that the config asks for now \(.*0\.2"):
        accepted(disk, monkeypatch, config=disk.config(**CHANGED))
    with pytest.raises(UserError, match="no valid checkpoint"):  # more epochs: the newest valid one
        accepted(disk, monkeypatch, config=disk.config(epochs=3))
    assert not disk.paths.accepted.exists()


def test_what_was_saved_within_an_epoch_is_accepted_as_of_the_epoch_before(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a start would resume from it, which an unfinished training's checkpoint is judged by."""
    torch = pytest.importorskip("torch")
    config = disk.config(trainer={"kind": "metriclogger", "entry": "a.py", "epoch_base": 1})
    disk.train()
    path = disk.paths.work_dir / "checkpoint.pth"
    disk.checkpoint.unlink()
    torch.save({"model": {"weight": torch.ones(1)}, "optimizer": {"state": {}}, "epoch": 1}, path)
    at = StageContext(config, "r", "s")
    (attempt,) = list_attempts(disk.paths.folder)
    mid = {"within": {path.stat().st_mtime_ns: 2}, "end": "killed", "final_checkpoint": None}
    write_json(disk.paths.folder / "attempts/001/attempt.json", attempt.model_copy(update=mid))
    parts = {"ingredients": ingredients(at)}
    identity = read_record(disk.paths.identity, Identity)
    assert identity is not None
    write_json(disk.paths.identity, identity.model_copy(update=parts))
    accepted(disk, monkeypatch, config=config)
    assert stage_plan(at).reason == "taken as it is at epoch 1: I know"
