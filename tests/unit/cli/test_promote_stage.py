"""`trainrelay promote`: the gate between a training and the stage that starts from it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from support.stage_on_disk import WEIGHTS, OnDisk
from trainrelay.cli.promote import promote_stage
from trainrelay.cli.train import train_stage
from trainrelay.errors import Refusal
from trainrelay.files import read_record, write_json
from trainrelay.records import Acceptance, CheckpointRecord

NAN_LOSS = {"metrics": {"loss": lambda step: math.nan if step >= 150 else 5.0}}


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def target(disk: OnDisk) -> Path:
    assert disk.paths.target is not None
    return disk.paths.target


def accepted(disk: OnDisk) -> str | None:
    record = read_record(disk.paths.checkpoint, CheckpointRecord)
    assert record is not None
    return record.accepted


def test_a_healthy_training_is_handed_on(disk: OnDisk) -> None:
    disk.train()
    train_stage(disk.config(), "r", "s")
    promote_stage(disk.config(), "r", "s")
    assert target(disk).read_bytes() == WEIGHTS
    assert accepted(disk) is None


def test_a_blocking_finding_keeps_the_checkpoint_where_it_is(disk: OnDisk) -> None:
    disk.train(log=NAN_LOSS)
    train_stage(disk.config(), "r", "s")
    with pytest.raises(Refusal, match=r"non-finite: loss is NaN(?s:.*)trainrelay accept r/s --reason"):
        promote_stage(disk.config(), "r", "s")
    assert not target(disk).exists()
    assert not disk.paths.checkpoint.exists()


def test_a_person_hands_on_this_checkpoint_in_spite_of_findings_and_no_other(disk: OnDisk) -> None:
    disk.train(log=NAN_LOSS)
    train_stage(disk.config(), "r", "s")
    word = Acceptance(kind="gate", subject="another sha256", reason="looks good", at_s=9e9)
    write_json(disk.paths.accepted, word)
    with pytest.raises(Refusal):
        promote_stage(disk.config(), "r", "s")
    sha256 = disk.facts().file.sha256
    write_json(disk.paths.accepted, word.model_copy(update={"subject": sha256}))
    promote_stage(disk.config(), "r", "s")
    assert (target(disk).read_bytes(), accepted(disk)) == (WEIGHTS, "looks good")


def test_without_a_gate_findings_do_not_stop_the_promotion_and_that_is_recorded(disk: OnDisk) -> None:
    disk.train(log=NAN_LOSS)
    train_stage(disk.config(), "r", "s")
    promote_stage(disk.config(gate=False), "r", "s")
    assert (target(disk).read_bytes(), accepted(disk)) == (WEIGHTS, "gate: off")


def test_what_an_earlier_training_of_ours_promoted_is_replaced_and_kept(disk: OnDisk) -> None:
    disk.train()
    train_stage(disk.config(), "r", "s")
    promote_stage(disk.config(), "r", "s")
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    disk.train(weights=b"the weights of another training")
    train_stage(disk.config(), "r", "s")
    promote_stage(disk.config(), "r", "s")
    assert target(disk).read_bytes() == b"the weights of another training"
    assert target(disk).with_name("s.pth.previous").read_bytes() == WEIGHTS
