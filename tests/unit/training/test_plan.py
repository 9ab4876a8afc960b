"""What would happen to a stage, from its config and its files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.stage_on_disk import RANKS, OnDisk
from trainrelay.dag import Plans
from trainrelay.records import FORMAT, Acceptance, AttemptRecord, Identity
from trainrelay.system.files import read_record, write_json
from trainrelay.training import plan, state
from trainrelay.training.context import StageContext
from trainrelay.training.plan import StagePlan, stage_plan
from trainrelay.training.signature import signature


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnDisk:
    monkeypatch.setattr(plan, "not_understood", lambda *_: [])  # its checkpoint is a word
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train(hours=2.0)
    return disk


def action(disk: OnDisk, guard_gpu_h: float = 8.0, **stage: object) -> str:
    return stage_plan(StageContext(disk.config(guard_gpu_h, **stage), "r", "s")).action


def test_a_complete_training_asks_for_nothing(disk: OnDisk) -> None:
    assert action(disk) == "nothing"


def test_more_gpu_hours_than_the_guard_are_not_set_aside(disk: OnDisk) -> None:
    assert action(disk, guard_gpu_h=15.9, seed=7) == "refuse"
    assert action(disk, guard_gpu_h=16.1, seed=7) == "retrain"


def test_the_refusal_names_the_price_the_limit_and_what_to_type(disk: OnDisk) -> None:
    (reason,) = stage_plan(StageContext(disk.config(seed=7), "r", "s")).refused
    assert "16.0 GPU-hours (retrain_guard_gpu_h: 8)" in reason
    assert 'trainrelay accept r/s --retrain --reason "..."' in reason


def test_a_persons_word_holds_for_this_change_and_no_other(disk: OnDisk) -> None:
    facts = state.read(StageContext(disk.config(seed=7), "r", "s"))
    subject = signature(facts.ingredients, facts.asked)
    write_json(disk.paths.may_retrain, Acceptance(kind="retrain", subject=subject, reason="x", at_s=0.0))
    assert action(disk, seed=7) == "retrain"
    assert action(disk, seed=8) == "refuse"


def test_an_empty_file_of_a_later_epoch_is_no_progress_and_gives_no_hours_back(disk: OnDisk) -> None:
    disk.checkpoint.with_name("epoch_99999.pth").touch()
    planned = stage_plan(StageContext(disk.config(epochs=4), "r", "s"))
    assert planned.doing == "continues from epoch 2 to 4"
    assert (planned.gpu_h_left or 0) >= 0


def test_raised_epochs_go_on_from_the_newest_checkpoint(disk: OnDisk) -> None:
    planned = stage_plan(StageContext(disk.config(epochs=4), "r", "s"))
    assert (planned.action, planned.doing) == ("extend", "continues from epoch 2 to 4")
    assert str(disk.checkpoint) in " ".join(planned.launch.argv)


def test_the_room_that_a_kept_copy_takes_is_in_the_plan(disk: OnDisk) -> None:
    """Its size is the trainer's own file's, so it is known once there is one."""
    assert stage_plan(StageContext(disk.config(epochs=4), "r", "s")).notes == ()
    kept = disk.paths.folder / "kept/epoch_1.pth"
    kept.parent.mkdir()
    with kept.open("wb") as file:
        file.truncate(1_500_000_000)
    notes = stage_plan(StageContext(disk.config(epochs=4), "r", "s")).notes
    assert notes == ("keeps a copy of epoch_1.pth, which the trainer overwrites: 1.5 GB",)


def test_a_hook_that_did_not_attach_before_is_in_the_plan(disk: OnDisk) -> None:
    """As far as is known: of the newest attempt, and no longer once it is switched off."""
    (path,) = disk.paths.folder.glob("attempts/*/attempt.json")
    record = read_record(path, AttemptRecord)
    assert record
    write_json(path, record.model_copy(update={"hook": "the hook did not attach: x"}))
    noted = [stage_plan(StageContext(disk.config(epochs=4, hook=on), "r", "s")).notes for on in (True, False)]
    assert noted == [("attempt 1: the hook did not attach: x",), ()]


def test_more_epochs_of_a_schedule_over_all_epochs_are_warned_about(disk: OnDisk) -> None:
    config = disk.base / "checkout/a.py"
    config.write_text(config.read_text() + "lr_config = dict(policy='step')\n")
    disk.identify()
    assert "warning" not in stage_plan(StageContext(disk.config(epochs=3), "r", "s")).reason
    config.write_text(config.read_text().replace("step", "CosineAnnealing"))
    disk.identify()
    planned = stage_plan(StageContext(disk.config(epochs=3), "r", "s"))
    assert planned.action == "extend"
    assert "warning: CosineAnnealing spans all epochs" in planned.reason


def test_a_change_that_is_taken_back_finds_the_training_that_was_set_aside(disk: OnDisk) -> None:
    folder = disk.paths.folder
    aside = folder.with_name("s.old-1")
    folder.rename(aside)
    planned = stage_plan(StageContext(disk.config(), "r", "s"))
    assert planned.action == "refuse"
    said = f"{aside} holds exactly this training; to restore it, run: trainrelay restore r/s 1"
    assert said in planned.refused[0]
    assert action(disk, seed=7) == "train"
    aside.rename(folder)
    assert action(disk) == "nothing"


def test_a_person_may_train_it_once_more_all_the_same(disk: OnDisk) -> None:
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    facts = state.read(StageContext(disk.config(), "r", "s"))
    subject = signature(facts.ingredients, facts.asked)
    disk.paths.folder.mkdir()
    write_json(disk.paths.may_retrain, Acceptance(kind="retrain", subject=subject, reason="x", at_s=0.0))
    assert action(disk) == "train"


def test_a_trainer_config_that_cannot_be_read_is_noted(disk: OnDisk) -> None:
    (disk.base / "checkout/a.py").write_text("optimizer = dict(")
    planned = stage_plan(StageContext(disk.config(100.0, seed=7), "r", "s"))
    assert any("a.py cannot be read: " in note for note in planned.notes)


def test_checkpoints_that_come_nobody_knows_how_often_are_noted_beside_a_time_limit(disk: OnDisk) -> None:
    limited: dict[str, Any] = {"epochs": 3, "resources": {"gpu": RANKS, "runtime_min": 60}}
    limited["checkpoint_interval_min"] = 0
    config = disk.base / "checkout/a.py"
    notes = []
    for interval in ("interval=1", "interval=1, by_epoch=False"):
        config.write_text(f"optimizer = dict(lr=0.1)\ncheckpoint_config = dict({interval})\n")
        disk.identify()
        notes.append(stage_plan(StageContext(disk.config(**limited), "r", "s")).notes)
    said = ("how often it saves a checkpoint is unknown, so runtime_min may be too short for one",)
    assert notes == [(), said]
    assert stage_plan(StageContext(disk.config(epochs=3), "r", "s")).notes == ()
    steps = limited | {"checkpoint_interval_min": 10}
    assert stage_plan(StageContext(disk.config(**steps), "r", "s")).notes == ()
    config.unlink()  # the checkout may be on another machine
    assert said[0] not in stage_plan(StageContext(disk.config(**limited), "r", "s")).notes


def missing(disk: OnDisk, stage: str = "s", parent: str | None = None) -> list[str]:
    notes = stage_plan(StageContext(disk.config(epochs=3), "r", stage), parent).notes
    return [note for note in notes if note.startswith("refused if started here: ")]


def test_a_trainer_config_or_an_initial_checkpoint_that_is_missing_is_noted(disk: OnDisk) -> None:
    config = disk.base / "checkout/a.py"
    config.write_text(config.read_text() + "load_from = 'ckpts/bevformer.pth'\n")
    disk.identify()
    (note,) = missing(disk)
    assert f"the initial checkpoint {disk.base / 'checkout/ckpts/bevformer.pth'} does not exist" in note
    (disk.base / "checkout/ckpts").mkdir()
    (disk.base / "checkout/ckpts/bevformer.pth").touch()
    assert missing(disk) == []
    config.unlink()
    (note,) = missing(disk)
    assert f"the training config {config} does not exist" in note


def test_a_launcher_whose_option_the_script_does_not_take_is_refused(disk: OnDisk) -> None:
    """As UniAD's first version under a later torch, which is the tests' own."""
    script = disk.base / "checkout/tools/train.py"
    script.write_text(
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--local_rank', type=int)\n"
        "args = parser.parse_args()\n"
    )
    launched = {"launch": "torch.distributed.launch"}
    planned = stage_plan(StageContext(disk.config(epochs=3, trainer=launched), "r", "s"))
    assert planned.action == "refuse"
    (why,) = planned.refused
    assert "gives each rank --local-rank, which ./tools/train.py does not declare" in why
    assert why.endswith("set trainer.launch: torch.distributed.run")
    assert stage_plan(StageContext(disk.config(epochs=3), "r", "s")).action == "extend"
    assert action(disk, trainer=launched) == "nothing"  # what is trained needs no start


@pytest.fixture
def an_hour_per_epoch(disk: OnDisk) -> OnDisk:
    """As its one attempt measured; a checkpoint is saved each epoch."""
    disk.change(last_epoch=2, last_iteration=100, iters_per_epoch=100)
    config = disk.base / "checkout/a.py"
    config.write_text(config.read_text() + "checkpoint_config = dict(interval=1)\n")
    disk.identify()
    return disk


def refusals(disk: OnDisk, runtime_min: int, *, limited: bool, interval_min: float = 0.0) -> str:
    """Of the training to 4 epochs, as the workflow asks before it submits."""
    jobs = [SimpleNamespace(output=[disk.paths.train])]
    resources = {"gpu": 8, "runtime_min": runtime_min}
    config = disk.config(epochs=4, resources=resources, checkpoint_interval_min=interval_min)
    found = Plans(config, []).refusals(jobs, lambda _: None, limited=limited)
    return "\n".join(why for _, why in found)


def test_a_time_limit_below_the_checkpoint_interval_is_refused_with_the_key_to_set(
    an_hour_per_epoch: OnDisk,
) -> None:
    """On a cluster; on one machine there is no limit."""
    refused = refusals(an_hour_per_epoch, 59, limited=True)
    assert "every epoch, which takes 60 min as measured, but runtime_min is 59" in refused
    assert refusals(an_hour_per_epoch, 61, limited=True) == ""
    assert refusals(an_hour_per_epoch, 59, limited=False) == ""
    assert refusals(an_hour_per_epoch, 59, limited=True, interval_min=10) == ""


def test_a_time_limit_is_not_judged_where_little_or_nothing_was_measured(an_hour_per_epoch: OnDisk) -> None:
    path = an_hour_per_epoch.paths.folder / "attempts/001/attempt.json"
    record = read_record(path, AttemptRecord)
    assert record
    for seen in ({"last_epoch": None}, {"last_epoch": 1, "last_iteration": 40, "s_per_iter": 99.0}):
        write_json(path, record.model_copy(update=seen))
        assert refusals(an_hour_per_epoch, 1, limited=True) == ""


def test_a_time_limit_below_the_interval_in_iterations_is_refused_too(disk: OnDisk) -> None:
    """40 minutes per 200 iterations of a runner of mmcv that counts those."""
    config = disk.base / "checkout/a.py"
    runner = "runner = dict(type='IterBasedRunner', max_iters=300)\ncheckpoint_config = dict(interval=200)\n"
    config.write_text(config.read_text() + runner)
    disk.checkpoint.rename(disk.checkpoint.with_name("iter_300.pth"))
    seen = {"last_epoch": 1, "last_iteration": 300, "iters_per_epoch": 300, "s_per_iter": 12.0}
    disk.change(epochs=None, iters=300, final_checkpoint=None, **seen)

    def planned(runtime_min: int) -> StagePlan:
        limit = {"gpu": 8, "runtime_min": runtime_min}
        return stage_plan(
            StageContext(
                disk.config(epochs=None, iters=700, resources=limit, checkpoint_interval_min=0), "r", "s"
            )
        )

    parts = planned(1).ingredients
    write_json(
        disk.paths.identity,
        Identity(format=FORMAT, run="r", stage="s", ingredients=parts, initial_checkpoint=None),
    )
    assert planned(41).too_short is None
    assert planned(41).doing == "continues from iteration 300 to 700"
    assert "runner.max_iters=700" in planned(41).launch.argv
    why = planned(39).too_short
    assert why
    assert why.startswith("a checkpoint is saved every 200 iterations, which takes 40 min as measured, but")


@pytest.mark.parametrize(
    ("resources", "array"),
    [
        ({"runtime_min": 61, "legs": "array"}, "--array=1-3%1"),
        ({"runtime_min": 121, "legs": "array"}, ""),
        ({"runtime_min": 61}, ""),
    ],
)
def test_a_training_longer_than_its_walltime_is_an_array_where_the_config_says_so(
    an_hour_per_epoch: OnDisk, resources: dict[str, Any], array: str
) -> None:
    """Two hours are left; the rules ask for what the plan shows."""
    config = an_hour_per_epoch.config(epochs=4, resources={"gpu": 8, **resources})
    planned = stage_plan(StageContext(config, "r", "s"))
    assert [flag for flag in planned.sbatch if flag.startswith("--array")] == [*filter(None, [array])]
    asked = Plans(config, []).resources("s").get("slurm_legs", lambda _: None)
    assert asked(SimpleNamespace(run="r")) == (planned.slurm.legs if array else None)


def test_a_complete_stage_shows_no_gpus_as_it_is_submitted_if_it_is_triggered(disk: OnDisk) -> None:
    asked = {"gpu": 8, "gpu_model": "a40"}
    for epochs, does, gpus in ((2, "nothing", []), (3, "extend", ["--gres=gpu:a40:8"])):
        planned = stage_plan(StageContext(disk.config(epochs=epochs, resources=asked), "r", "s"))
        assert planned.action == does
        assert [flag for flag in planned.sbatch if "gpu" in flag] == gpus


def test_a_plan_over_two_nodes_shows_the_command_its_flags_and_what_it_costs(disk: OnDisk) -> None:
    """An hour of one node's 8 GPUs becomes an hour of 16; where it is planned there need be no Slurm."""
    before = stage_plan(StageContext(disk.config(epochs=4), "r", "s"))
    planned = stage_plan(StageContext(disk.config(epochs=4, resources={"gpu": 8, "nodes": 2}), "r", "s"))
    assert planned.launch.argv[:2] == ("srun", "--nodes=2")
    assert "--master_addr=first-node" in planned.launch.argv
    assert {"--nodes=2", "--ntasks-per-node=1"} <= set(planned.sbatch)
    assert "8 x GPU on each of 2 nodes" in planned.asks()
    assert planned.notes == before.notes
    assert "world size: 8 -> 16" in map(str, planned.differences)


@pytest.mark.parametrize(
    ("hook", "asked", "noted"),
    [
        ("interval=1, max_keep_ckpts=2", {}, True),
        ("interval=1, max_keep_ckpts=-1", {}, False),
        ("interval=1, max_keep_ckpts=9", {}, False),
        ("interval=1", {"options": {"checkpoint_config.max_keep_ckpts": 2}}, True),
        ("interval=1, max_keep_ckpts=2", {"options": {"evaluation.save_best": "NDS"}}, False),
        ("interval=1, max_keep_ckpts=2", {"checkpoint": "latest"}, False),
    ],
)
def test_a_best_that_the_trainer_may_remove_is_noted_beforehand(
    disk: OnDisk, hook: str, asked: dict[str, Any], noted: bool
) -> None:
    config = disk.base / "checkout/a.py"
    config.write_text(f"{config.read_text()}checkpoint_config = dict({hook})\n")
    settings = {"epochs": 6, "checkpoint": {"best": "NDS", "mode": "max"}, **asked}
    said = " ".join(stage_plan(StageContext(disk.config(**settings), "r", "s")).notes)
    assert (
        "keeps its newest checkpoints alone (max_keep_ckpts: 2), and may remove the best NDS" in said
    ) is noted
