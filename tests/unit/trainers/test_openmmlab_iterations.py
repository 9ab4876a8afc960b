"""Kinds mmcv and mmengine where a stage counts iterations: command lines, refusals, lines and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, Option, ResumeSeen, StepSeen, Trainer

BY_EPOCH = {
    "mmcv": "runner = dict(type='EpochBasedRunner', max_epochs=6)\n",
    "mmengine": "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6)\n",
}
# As mmseg 0.x and mmseg 1 write them.
BY_ITERATION = {
    "mmcv": "runner = dict(type='IterBasedRunner', max_iters=160)\ncheckpoint_config = dict(interval=16)\n",
    "mmengine": (
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=160, val_interval=16)\n"
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=16))\n"
    ),
}
KINDS = [*BY_EPOCH]
LINES = {
    "mmcv": "2022-06-19 13:40:00,011 - mmseg - INFO - Iter [200/160000]\tlr: 9e-07, eta: 0:10:00, loss: 2.5",
    "mmengine": (
        "06/05 20:10:13 - mmengine - INFO - Iter(train) [   200/160000]  lr: 1.0e-02  eta: 0:10:00  loss: 2.5"
    ),
}


def counting(kind: str) -> Trainer:
    return TRAINERS[kind].of(None, "", 160)


def request_of(kind: str, folder: Path, text: str, iters: int | None, **options: Option) -> LaunchRequest:
    (folder / "a.py").write_text(text)
    config = TRAINERS[kind].read_config(folder, "a.py")
    assert config.problem is None
    return LaunchRequest(
        root=str(folder),
        interpreter="python",
        launch_module="torch.distributed.run",
        entry="tools/train.py",
        config="a.py",
        work_dir="work",
        nproc_per_node=2,
        nodes=1,
        rung=RUNGS["gloo"],
        master_port=None,
        epochs=6 if iters is None else None,
        iters=iters,
        options={key.replace("__", "."): value for key, value in options.items()},
        trainer_config=config,
    )


def refusals(kind: str, folder: Path, text: str, iters: int | None = 160, **options: Option) -> list[str]:
    trainer = TRAINERS[kind] if iters is None else counting(kind)
    return [*trainer.unsupported(request_of(kind, folder, text, iters, **options))]


def added(kind: str, folder: Path, text: str, iters: int | None) -> list[str]:
    """The options of a start, but for the backend."""
    argv = counting(kind).launch(request_of(kind, folder, text, iters), {}).argv
    return [word for word in argv[argv.index("--cfg-options") + 1 :] if "backend=" not in word]


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_that_counts_what_the_stage_does_is_trained(tmp_path: Path, kind: str) -> None:
    assert refusals(kind, tmp_path, BY_ITERATION[kind]) == []
    assert refusals(kind, tmp_path, BY_EPOCH[kind], None) == []


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_of_a_config_by_iterations_and_the_reverse_are_refused(tmp_path: Path, kind: str) -> None:
    (said,) = refusals(kind, tmp_path, BY_ITERATION[kind], None)
    assert said.startswith("a.py counts iterations (IterBased")
    assert "and the stage has epochs; write iters in place of epochs" in said
    (said,) = refusals(kind, tmp_path, BY_EPOCH[kind])
    assert said.startswith("a.py counts epochs (EpochBased")
    assert "and the stage has iters; write epochs in place of iters" in said


def test_a_config_that_counts_both_is_refused_for_either(tmp_path: Path) -> None:
    """A child of an IterBasedRunner without `_delete_`: mmcv raises."""
    both = "runner = dict(type='EpochBasedRunner', max_epochs=5, max_iters=9)\n"
    for iters in (None, 160):
        (said,) = refusals("mmcv", tmp_path, both, iters)
        assert said.startswith("a.py counts epochs and iterations at once (")
    assert said.endswith("write: runner = dict(_delete_=True, type='IterBasedRunner', max_iters=...)")


def test_what_only_running_the_config_would_tell_is_not_refused(tmp_path: Path) -> None:
    either = "runner = dict(type='IterBasedRunner' if made() else 'EpochBasedRunner')\n"
    assert refusals("mmcv", tmp_path, either, None) == []
    for text in (
        either,
        "runner = made()\n",
        "n = made()\nrunner = dict(type='IterBasedRunner', max_iters=n)\n",
    ):
        assert refusals("mmcv", tmp_path, text) == []
    hooks = "train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)\ndefault_hooks = made()\n"
    assert refusals("mmengine", tmp_path, hooks) == []


def test_a_hook_that_saves_by_epochs_is_refused_as_it_would_save_nothing(tmp_path: Path) -> None:
    text = BY_ITERATION["mmcv"].replace("dict(interval=16)", "dict(by_epoch=True, interval=1)")
    (said,) = refusals("mmcv", tmp_path, text)
    assert said.startswith("checkpoint_config of a.py saves by epochs, and the stage counts iterations")
    text = BY_ITERATION["mmengine"].replace("by_epoch=False, ", "")
    for default in (text, text.partition("\n")[0]):  # mmengine's own hook counts epochs
        (said,) = refusals("mmengine", tmp_path, default)
        assert said.startswith("default_hooks.checkpoint of a.py saves by epochs")
        by_option = {"default_hooks__checkpoint__by_epoch": False}
        assert refusals("mmengine", tmp_path, default, 160, **by_option) == []


def test_a_config_of_total_epochs_alone_gets_no_runner_without_a_type(tmp_path: Path) -> None:
    """mmcv 1.x makes the runner from total_epochs only where there is none."""
    assert added("mmcv", tmp_path, "total_epochs = 12\n", None) == ["total_epochs=6"]


def test_the_number_of_iterations_is_set_where_the_config_says_another(tmp_path: Path) -> None:
    assert added("mmcv", tmp_path, BY_ITERATION["mmcv"], 160) == []
    assert added("mmcv", tmp_path, BY_ITERATION["mmcv"], 80) == ["runner.max_iters=80"]
    assert added("mmcv", tmp_path, "total_iters = 160\n", 80) == ["total_iters=80"]
    assert refusals("mmcv", tmp_path, "total_iters = 160\n", 80) == []
    assert len(refusals("mmcv", tmp_path, "total_iters = 160\n", None)) == 1
    for iters in (80, 160):
        said = added("mmengine", tmp_path, BY_ITERATION["mmengine"], iters)
        assert said == [f"train_cfg.max_iters={iters}", "log_processor.by_epoch=False"]


@pytest.mark.parametrize(
    ("kind", "key"),
    [("mmcv", "runner.max_iters"), ("mmcv", "total_iters"), ("mmengine", "train_cfg.max_iters")],
)
def test_the_number_of_iterations_is_neither_an_option_nor_a_part_of_the_identity(
    kind: str, key: str
) -> None:
    refusal = TRAINERS[kind].refused_option(key, 5)
    assert refusal
    assert refusal.endswith("set the stage's iters")
    assert not TRAINERS[kind].changes_weights(f"config: {key}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_progress_line_is_read_by_a_stage_that_counts_iterations_alone(kind: str) -> None:
    assert TRAINERS[kind].observe(LINES[kind]) is None
    assert counting(kind).observe(LINES[kind]) == StepSeen(1, 200, 160000, 2.5, 600.0, by_iteration=True)
    assert counting(kind).observe("Iter(val) [8]\tmIoU: 0.5") is None
    assert counting(kind).observe("Iter(val) [8/8]    mIoU: 0.5") is None


def test_both_spellings_of_a_resume_are_its_proof() -> None:
    assert counting("mmcv").observe("INFO - resumed from epoch: 3, iter 159") == ResumeSeen(3, 159)
    assert counting("mmengine").observe("INFO - resumed epoch: 0, iter: 160") == ResumeSeen(0, 160)


@pytest.mark.parametrize("kind", KINDS)
def test_how_often_it_saves_is_known_if_that_counts_iterations(tmp_path: Path, kind: str) -> None:
    config = request_of(kind, tmp_path, BY_ITERATION[kind], 160).trainer_config
    hook = {"mmcv": "checkpoint_config", "mmengine": "default_hooks.checkpoint"}[kind]
    assert counting(kind).checkpoint_interval(config, {}) == 16
    assert counting(kind).checkpoint_interval(config, {f"{hook}.by_epoch": True}) is None


def saved(path: Path, iteration: int) -> None:
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    meta = {"epoch": 1, "iter": iteration}
    torch.save({"meta": meta, "state_dict": layer.state_dict(), "optimizer": optimizer.state_dict()}, path)


@pytest.mark.parametrize("kind", KINDS)
def test_iterations_are_counted_from_the_name_and_held_against_the_content(tmp_path: Path, kind: str) -> None:
    """mmcv's file of iteration 8 holds 7, mmengine's 8; one that holds another number was renamed."""
    trainer = counting(kind)
    for name, iteration in {"iter_8": 7, "iter_16": 16, "iter_24": 7, "best_mIoU_iter_16": 15}.items():
        saved(tmp_path / f"{name}.pth", iteration)
    (tmp_path / "latest.pth").symlink_to("iter_24.pth")
    found = trainer.checkpoints(tmp_path)
    assert [(number, path.name) for number, path in found] == [
        (24, "iter_24.pth"),
        (16, "iter_16.pth"),
        (8, "iter_8.pth"),
    ]
    held = [trainer.inspect(path, 0, path).iteration for _, path in found]
    assert held == [7, 16, 8]
    assert [(n, path.name) for n, path in trainer.best_copies(tmp_path)] == [(16, "best_mIoU_iter_16.pth")]
    assert trainer.glance(tmp_path / "best_mIoU_iter_16.pth").number == 16
    assert trainer.unrecognised(tmp_path) == []
    assert trainer.checkpoint_path(tmp_path, 32).name == "iter_32.pth"


@pytest.mark.parametrize("kind", KINDS)
def test_files_by_epochs_are_not_those_of_a_training_by_iterations(tmp_path: Path, kind: str) -> None:
    saved(tmp_path / "epoch_1.pth", 8)
    assert counting(kind).checkpoints(tmp_path) == []
    ((_, why),) = counting(kind).unrecognised(tmp_path)
    assert why == "is not called iter_N.pth"
    assert TRAINERS[kind].unrecognised(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_by_iterations_leaves_the_others_their_epochs(kind: str) -> None:
    assert counting(kind).unit == "iteration"
    assert TRAINERS[kind].unit == "epoch"


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_outside_of_the_work_dir_are_refused(tmp_path: Path, kind: str) -> None:
    """CheckpointHook's out_dir: none of them would be found after the whole training."""
    hook = {"mmcv": "checkpoint_config", "mmengine": "default_hooks.checkpoint"}[kind]
    (said,) = refusals(kind, tmp_path, BY_ITERATION[kind], **{f"{hook}.out_dir": "/big/disk"})
    assert said.startswith(
        f"{hook}.out_dir of a.py saves checkpoints where they are not looked for; leave it out"
    )
    assert refusals(kind, tmp_path, BY_ITERATION[kind], **{f"{hook}.out_dir": None}) == []
