"""What would happen to a stage, from its config and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.stage_on_disk import OnDisk
from trainrelay import state
from trainrelay.files import write_json
from trainrelay.plan import stage_plan
from trainrelay.records import Acceptance
from trainrelay.signature import signature


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train(hours=2.0)
    return disk


def action(disk: OnDisk, guard_gpu_h: float = 8.0, **stage: object) -> str:
    return stage_plan(disk.config(guard_gpu_h, **stage), "r", "s").action


def test_a_complete_training_asks_for_nothing(disk: OnDisk) -> None:
    assert action(disk) == "nothing"


def test_more_gpu_hours_than_the_guard_are_not_set_aside(disk: OnDisk) -> None:
    assert action(disk, guard_gpu_h=15.9, seed=7) == "refuse"
    assert action(disk, guard_gpu_h=16.1, seed=7) == "retrain"


def test_the_refusal_names_the_price_the_limit_and_what_to_type(disk: OnDisk) -> None:
    reason = stage_plan(disk.config(seed=7), "r", "s").reason
    assert "16.0 GPU-hours (retrain_guard_gpu_h: 8)" in reason
    assert 'trainrelay accept r/s --retrain --reason "..."' in reason


def test_a_persons_word_holds_for_this_change_and_no_other(disk: OnDisk) -> None:
    facts = state.read(disk.config(seed=7), "r", "s")
    subject = signature(facts.ingredients, facts.epochs)
    write_json(disk.paths.accepted, Acceptance(kind="retrain", subject=subject, reason="x", at_s=0.0))
    assert action(disk, seed=7) == "retrain"
    assert action(disk, seed=8) == "refuse"


def test_raised_epochs_go_on_from_the_newest_checkpoint(disk: OnDisk) -> None:
    planned = stage_plan(disk.config(epochs=4), "r", "s")
    assert (planned.action, planned.doing) == ("extend", "goes on from epoch 2 to 4")
    assert str(disk.checkpoint) in " ".join(planned.launch.argv)


def test_more_epochs_of_a_schedule_over_all_epochs_are_warned_about(disk: OnDisk) -> None:
    config = disk.base / "checkout/a.py"
    config.write_text(config.read_text() + "lr_config = dict(policy='step')\n")
    disk.identify()
    assert "warning" not in stage_plan(disk.config(epochs=3), "r", "s").reason
    config.write_text(config.read_text().replace("step", "CosineAnnealing"))
    disk.identify()
    planned = stage_plan(disk.config(epochs=3), "r", "s")
    assert planned.action == "extend"
    assert "warning: CosineAnnealing spans all epochs" in planned.reason


def test_a_change_that_is_taken_back_finds_the_training_that_was_set_aside(disk: OnDisk) -> None:
    folder = disk.paths.folder
    aside = folder.with_name("s.old-1")
    folder.rename(aside)
    planned = stage_plan(disk.config(), "r", "s")
    assert planned.action == "refuse"
    assert (
        f"{aside} holds exactly this training; to take it back, type: mv {aside} {folder}" in planned.reason
    )
    assert action(disk, seed=7) == "train"
    aside.rename(folder)
    assert action(disk) == "nothing"


def test_a_person_may_train_it_once_more_all_the_same(disk: OnDisk) -> None:
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    facts = state.read(disk.config(), "r", "s")
    subject = signature(facts.ingredients, facts.epochs)
    disk.paths.folder.mkdir()
    write_json(disk.paths.accepted, Acceptance(kind="retrain", subject=subject, reason="x", at_s=0.0))
    assert action(disk) == "train"


def test_a_trainer_config_that_cannot_be_read_is_noted(disk: OnDisk) -> None:
    (disk.base / "checkout/a.py").write_text("optimizer = dict(")
    planned = stage_plan(disk.config(100.0, seed=7), "r", "s")
    assert any("a.py cannot be read: " in note for note in planned.notes)
