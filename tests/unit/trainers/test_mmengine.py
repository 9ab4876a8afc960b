"""Command lines of kind mmengine, held against golden files; what it refuses, prints and leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, Option, ResumeSeen, StepSeen, TrainerConfig

GOLDEN = Path(__file__).parents[1] / "golden"
MMENGINE = TRAINERS["mmengine"]
# What mmdet 3's and mmpretrain's tools/train.py declare, and mmseg 1's.
RESUMES_FROM = 'parser.add_argument("--resume", nargs="?", type=str, const="auto")\n'
RESUMES = 'parser.add_argument("--resume", action="store_true", default=False)\n'

START = LaunchRequest(
    root="/data/mmdetection",
    interpreter="python",
    launch_module="torch.distributed.run",
    entry="./tools/train.py",
    config="configs/retinanet/retinanet_r50_fpn_1x_coco.py",
    work_dir="work_dirs/retinanet",
    nproc_per_node=8,
    nodes=1,
    rung=RUNGS["nccl-no-p2p"],
    master_port=29511,
    epochs=12,
    options={"train_dataloader.num_workers": 4, "optim_wrapper.optimizer.lr": 0.01},
    trainer_config=TrainerConfig(literals={"train_cfg.max_epochs": 12}),
)
GOLDENS = {
    "start": START,
    "resume": replace(START, resume_from="work_dirs/retinanet/epoch_4.pth", load_from="ckpts/first.pth"),
    "automatic_port": replace(START, master_port=40123),
    "from_another_stage": replace(
        START,
        load_from="ckpts/first.pth",
        epochs=24,
        seed=3,
        deterministic=True,
        validate=False,
        trainer_config=TrainerConfig(literals={"train_cfg.max_epochs": 12, "resume": True}),
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_a_start_is_the_argv_list_of_its_golden_file(name: str) -> None:
    launch = MMENGINE.launch(GOLDENS[name], {})
    said = {"cwd": launch.cwd, "env": dict(launch.env), "argv": list(launch.argv)}
    golden = GOLDEN / f"mmengine_{name}.json"
    assert json.dumps(said, indent=2).splitlines() == golden.read_text().splitlines()


def with_script(folder: Path, script: str) -> LaunchRequest:
    (folder / "tools").mkdir()
    (folder / "tools/train.py").write_text(f"import argparse\nparser = argparse.ArgumentParser()\n{script}")
    return replace(START, root=str(folder), resume_from="work/epoch_4.pth")


def test_a_resume_is_spelled_as_the_script_declares_it(tmp_path: Path) -> None:
    """mmseg's --resume takes no path: it would resume from whatever last_checkpoint names."""
    argv = MMENGINE.launch(with_script(tmp_path, RESUMES_FROM), {}).argv
    assert argv[argv.index("--resume") + 1] == "work/epoch_4.pth"
    assert "load_from=work/epoch_4.pth" not in argv


def test_a_script_whose_resume_is_a_switch_gets_the_checkpoint_as_an_option(tmp_path: Path) -> None:
    request = with_script(tmp_path, RESUMES)
    argv = MMENGINE.launch(request, {}).argv
    assert argv[argv.index("--resume") + 1] == "--cfg-options"
    assert argv[-1] == "load_from=work/epoch_4.pth"
    assert not [*MMENGINE.unsupported(request)]
    (said,) = MMENGINE.unsupported(replace(request, work_dir="my work"))
    assert said.startswith("mmengine would misread the path my work")


def sentences(text: str, folder: Path, **options: Option) -> list[str]:
    (folder / "a.py").write_text(text)
    config = MMENGINE.read_config(folder, "a.py")
    assert config.problem is None
    named = {key.replace("__", "."): value for key, value in options.items()}
    request = replace(START, root=str(folder), config="a.py", trainer_config=config, options=named)
    return [*MMENGINE.unsupported(request)]


BY_ITERATION = {
    "a loop": "train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000)\n",
    "no name": "train_cfg = dict(by_epoch=False, max_iters=90000)\n",
    "imported": "from mmengine.runner import IterBasedTrainLoop\ntrain_cfg = dict(type=IterBasedTrainLoop)\n",
}


@pytest.mark.parametrize("name", [*BY_ITERATION])
def test_a_loop_that_counts_iterations_is_refused(tmp_path: Path, name: str) -> None:
    (said,) = sentences(BY_ITERATION[name], tmp_path)
    assert said.startswith("a.py counts iterations (")


def test_a_config_of_mmcv_is_called_that(tmp_path: Path) -> None:
    text = "runner = dict(type='EpochBasedRunner', max_epochs=6)\nlr_config = dict(policy='step')\n"
    (said,) = sentences(text, tmp_path)
    assert said.endswith("set kind: mmcv")
    assert said.startswith("a.py is a config of mmcv 1.x (runner, lr_config)")


def test_what_counts_epochs_is_not_refused(tmp_path: Path) -> None:
    text = "train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12)\noptimizer_config = None\n"
    assert sentences(text, tmp_path) == []
    assert sentences(text, tmp_path, train_cfg__max_iters=5) != []


@pytest.mark.parametrize(
    ("entry", "stretched"),
    [
        ("dict(type='CosineAnnealingLR', by_epoch=True)", "CosineAnnealingLR"),
        ("dict(type='PolyLR', power=0.9)", "PolyLR"),
        ("dict(type='CosineAnnealingLR', T_max=12)", None),
        ("dict(type='LinearLR', start_factor=0.1, begin=0, end=500)", None),
        ("dict(type='MultiStepLR', milestones=[8, 11])", None),
    ],
)
def test_a_schedule_without_an_end_ends_with_the_training(
    tmp_path: Path, entry: str, stretched: str | None
) -> None:
    for text in (f"param_scheduler = {entry}\n", f"param_scheduler = [dict(type='StepLR'), {entry}]\n"):
        (tmp_path / "a.py").write_text(text)
        assert MMENGINE.schedule_over_all_epochs(MMENGINE.read_config(tmp_path, "a.py")) == stretched


STEP = (
    "06/05 20:10:13 - mmengine - INFO - Epoch(train)   [2][ 40/3517]  base_lr: 1.0000e-04 lr: 1.0000e-04  "
    "eta: 2 days, 5:46:49  time: 2.2950  data_time: 1.4990  memory: 8310  grad_norm: 55.1000  loss: 53.2500  "
    "loss_cls: 1.2000"
)


def test_a_progress_line_tells_epoch_iteration_loss_eta_and_gradient_norm() -> None:
    eta_s = ((2 * 24 + 5) * 60 + 46) * 60 + 49
    assert MMENGINE.observe(STEP) == StepSeen(2, 40, 3517, 53.25, float(eta_s), 55.1)


def test_the_proof_of_a_resume_is_read() -> None:
    assert MMENGINE.observe("... - INFO - resumed epoch: 3, iter: 10551") == ResumeSeen(3, 10551)


@pytest.mark.parametrize("line", ["", "Epoch(val) [6][753/753]    mAP: 0.2", "Iter(train) [50/90]  loss: 1"])
def test_other_lines_say_nothing(line: str) -> None:
    assert MMENGINE.observe(line) is None


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("config: optim_wrapper.optimizer.lr", True),
        ("config: model.type", True),
        ("config: default_hooks.logger.interval", False),
        ("config: default_hooks.sampler_seed.type", True),
        ("config: train_dataloader.num_workers", False),
        ("config: train_dataloader.batch_size", True),
        ("config: env_cfg.dist_cfg.backend", False),
        ("config: train_cfg.max_epochs", False),
        ("config: train_cfg.type", True),
        ("config: val_evaluator.type", False),
        ("config: randomness.seed", False),
        ("config: randomness.diff_rank_seed", True),
        ("config: resume_of_my_own", True),
    ],
)
def test_what_changes_weights_is_told_from_what_does_not(setting: str, changes: bool) -> None:
    assert MMENGINE.changes_weights(setting) is changes


def test_the_seed_and_the_checkpoint_interval_are_the_configs_own() -> None:
    said = TrainerConfig(literals={"default_hooks.checkpoint.interval": 2, "randomness.seed": 7})
    assert MMENGINE.checkpoint_interval(said, {}) == 2
    assert MMENGINE.checkpoint_interval(said, {"default_hooks.checkpoint.by_epoch": False}) is None
    assert MMENGINE.default_seed(said) == 7
    assert MMENGINE.default_seed(TrainerConfig()) is None


@pytest.mark.parametrize(
    "key", ["load_from", "resume", "work_dir", "train_cfg.max_epochs", "randomness.seed", "a.b"]
)
def test_what_the_workflow_sets_is_no_option(key: str) -> None:
    assert (MMENGINE.refused_option(key, 1) is None) is (key == "a.b")
