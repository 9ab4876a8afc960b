"""`trainrelay accept`: a person's word where one is needed, and nowhere else."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.cli import accept
from trainrelay.cli.train_record import write_train_record
from trainrelay.config import Config
from trainrelay.errors import UserError
from trainrelay.plan import stage_plan
from trainrelay.state import read


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def accepted(disk: OnDisk, monkeypatch: pytest.MonkeyPatch, retrain: bool = False) -> None:
    config: Config = disk.config()
    monkeypatch.setattr(accept, "configured", lambda _: config)
    said = {"where": "r/s", "reason": "I know", "retrain": retrain}
    accept.run(argparse.Namespace(**said))


def test_what_nothing_blocks_needs_no_word(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.train()
    write_train_record(disk.config(), read(disk.config(), "r", "s"))
    with pytest.raises(UserError, match="nothing is blocked, so there is nothing to accept"):
        accepted(disk, monkeypatch)
    assert not disk.paths.accepted.exists()


def test_a_blocked_checkpoint_is_accepted(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.train()
    write_train_record(disk.config(), read(disk.config(), "r", "s"))
    (disk.paths.folder / "attempts/001/trainer.log").unlink()  # without its log nothing speaks for it
    accepted(disk, monkeypatch)
    assert disk.paths.accepted.exists()


def test_what_lies_set_aside_may_be_trained_once_more(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.train()
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    accepted(disk, monkeypatch, retrain=True)
    assert stage_plan(disk.config(), "r", "s").action == "train"
