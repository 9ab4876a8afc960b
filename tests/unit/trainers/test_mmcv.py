"""Command lines of kind mmcv, held against golden files and against the command a person typed."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from trainrelay.config import load_config
from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, ResumeSeen, StepSeen, TrainerConfig
from trainrelay.training.context import StageContext
from trainrelay.training.request import launch_request

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[1] / "golden"
MMCV = TRAINERS["mmcv"]
# What the trainer configs of UniAD say themselves, so that nothing need be injected.
UNIAD_STAGE2 = TrainerConfig(
    literals={"runner.max_epochs": 20, "load_from": "ckpts/full_track_map.pth"}, settings={}
)
# The command by which the reference user started stage 2 by hand, as it stands in the notes.
TYPED_BY_HAND = """
   nohup bash -c 'PYTHONUNBUFFERED=1 PYTHONPATH=/workspace/uniad-trt/UniAD_train/UniAD:$PYTHONPATH \\
      python -u -m torch.distributed.launch --nproc_per_node=8 --master_port=28599 \\
      ./tools/train.py ./projects/configs/stage2_e2e/full_e2e.py \\
      --launcher pytorch --deterministic \\
      --work-dir ./projects/work_dirs/stage2_e2e/full_e2e/ \\
      --cfg-options data.workers_per_gpu=4 log_config.interval=10 dist_params.backend=gloo' \\
      > train_stage2.log 2>&1 &
"""


def request_of(stage: str, facts: TrainerConfig = UNIAD_STAGE2) -> LaunchRequest:
    config = load_config(ROOT / "config.yaml")
    return replace(launch_request(StageContext(config, "uniad", stage)), trainer_config=facts)


def test_stage_2_is_started_as_the_reference_user_typed_it() -> None:
    # The shell joins lines that end in a backslash; shlex does not.
    words = shlex.split(TYPED_BY_HAND.replace("\\\n", ""))
    inner = shlex.split(words[words.index("-c") + 1])
    env = dict(word.split("=", 1) for word in inner[:2])

    launch = MMCV.launch(request_of("stage2"), {"PYTHONPATH": "$PYTHONPATH"})

    assert list(launch.argv) == inner[2:]
    assert launch.env == env
    config = load_config(ROOT / "config.yaml")
    assert config.stage("uniad", "stage2").log == words[words.index(">") + 1]


def launched(request: LaunchRequest) -> str:
    launch = MMCV.launch(request, {})
    return (
        json.dumps({"cwd": launch.cwd, "env": dict(launch.env), "argv": list(launch.argv)}, indent=2) + "\n"
    )


STAGE2 = request_of("stage2")
GOLDENS = {
    "stage1": request_of("stage1", TrainerConfig(literals={"runner.max_epochs": 6})),
    "stage2": STAGE2,
    "resume": replace(STAGE2, resume_from="projects/work_dirs/stage2_e2e/full_e2e/epoch_4.pth"),
    "automatic_port": replace(STAGE2, master_port=40123),
    "uniad_v2": replace(STAGE2, launch_module="torch.distributed.run", seed=0),
    "other_epochs_and_start": request_of("stage2", TrainerConfig(literals={"runner.max_epochs": 24})),
    "nccl_without_p2p": replace(STAGE2, rung=RUNGS["nccl-no-p2p"]),
    "nasty_paths": replace(
        STAGE2, root="/data/my models/ü'; rm -rf $HOME", work_dir="a b/$(x)", interpreter="/opt/py 3/python"
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_a_start_is_the_argv_list_of_its_golden_file(name: str) -> None:
    assert launched(GOLDENS[name]).splitlines() == (GOLDEN / f"{name}.json").read_text().splitlines()


def test_what_the_trainer_config_says_already_is_not_said_again() -> None:
    argv = " ".join(MMCV.launch(STAGE2, {}).argv)
    assert "max_epochs" not in argv
    assert "load_from" not in argv


def test_an_own_pythonpath_comes_after_the_checkout_and_before_the_inherited_one() -> None:
    request = replace(STAGE2, root="/r", env={"PYTHONPATH": "/mine"})
    assert MMCV.launch(request, {"PYTHONPATH": "/theirs"}).env["PYTHONPATH"] == "/r:/mine:/theirs"


STEP = (
    "2026-01-05 10:00:00,011 - mmdet - INFO - Epoch [2][40/3517]\tlr: 2.000e-04, eta: 2 days, 5:46:49, "
    "time: 2.295, data_time: 1.499, track.frame_0_loss_cls_0: 1.2, loss: 53.2500, grad_norm: 55.1"
)


def test_a_progress_line_tells_epoch_iteration_loss_eta_and_gradient_norm() -> None:
    eta_s = ((2 * 24 + 5) * 60 + 46) * 60 + 49
    assert MMCV.observe(STEP) == StepSeen(2, 40, 3517, 53.25, float(eta_s), 55.1)


def test_a_loss_that_is_no_number_is_nan_and_not_an_error() -> None:
    seen = MMCV.observe(STEP.replace("53.2500", "nan"))
    assert isinstance(seen, StepSeen)
    assert seen.loss is not None
    assert math.isnan(seen.loss)


def test_the_proof_of_a_resume_is_read() -> None:
    assert MMCV.observe("... INFO - resumed epoch 3, iter 10551") == ResumeSeen(3, 10551)


@pytest.mark.parametrize("line", ["", "Epoch(val) [6][753]\tmAP: 0.2", "Epoch [a][b/c]\t", "loss: 3"])
def test_other_lines_say_nothing(line: str) -> None:
    assert MMCV.observe(line) is None


def test_checkpoints_are_ordered_by_epoch_and_links_are_left_out(tmp_path: Path) -> None:
    for name in (
        "epoch_2.pth",
        "epoch_10.pth",
        "epoch_x.pth",
        "epoch_3.pth.tmp",
        "other.pth",
        f"epoch_{10**20}.pth",
    ):
        (tmp_path / name).touch()
    (tmp_path / "latest.pth").symlink_to("epoch_10.pth")
    (tmp_path / "epoch_11.pth").symlink_to("epoch_10.pth")
    assert [epoch for epoch, _ in MMCV.checkpoints(tmp_path)] == [10, 2]
    assert MMCV.checkpoints(tmp_path / "none") == []


def test_everything_that_a_start_could_overwrite_is_seen(tmp_path: Path) -> None:
    (tmp_path / "latest.pth").touch()
    (tmp_path / "epoch_1.pth").symlink_to("/archive/e1.pth")
    (tmp_path / "20220101_000000.log").touch()
    assert MMCV.left_behind(tmp_path) == ["epoch_1.pth", "latest.pth"]
    assert MMCV.left_behind(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("optimizer.lr", True),
        ("config: model.type", True),
        ("default_runtime.py: log_config.interval", False),
        ("data.workers_per_gpu", False),
        ("data.samples_per_gpu", True),
        ("dist_params.backend", False),
        ("config: load_from", False),
        ("config: runner.max_epochs", False),
        ("config: runner.type", True),
        ("log_config_of_my_own", True),
    ],
)
def test_what_changes_weights_is_told_from_what_does_not(setting: str, changes: bool) -> None:
    assert MMCV.changes_weights(setting) is changes


def test_checkpoints_are_an_interval_of_epochs_apart_unless_iterations_are_counted() -> None:
    """An option counts before the config; what is not said is not known."""
    said = TrainerConfig(literals={"checkpoint_config.interval": 2}, settings={})
    assert MMCV.checkpoint_interval(said, {}) == 2
    assert MMCV.checkpoint_interval(said, {"checkpoint_config.interval": 3}) == 3
    assert MMCV.checkpoint_interval(said, {"checkpoint_config.by_epoch": False}) is None
    assert MMCV.checkpoint_interval(TrainerConfig(), {}) is None
    assert MMCV.checkpoint_interval(said, {"checkpoint_config.interval": "x"}) is None
