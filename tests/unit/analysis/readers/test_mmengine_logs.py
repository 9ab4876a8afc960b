"""Logs of mmengine's LoggerHook, as text and as JSON: real lines, cut ones, two attempts that overlap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainrelay.analysis import read
from trainrelay.records import Log

SAYS = "06/05 20:10:13 - mmengine - INFO - "
SETUP = f"""{SAYS}
------------------------------------------------------------
System environment:
    sys.platform: linux
    GPU 0,1: NVIDIA A40
    CUDA_HOME: /usr/local/cuda
    PyTorch: 2.0.1

Runtime environment:
    dist_cfg: {{'backend': 'nccl'}}
    GPU number: 2
------------------------------------------------------------

{SAYS}Config:
default_hooks = dict(logger=dict(interval=2, type='LoggerHook'))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
optim_wrapper = dict(
    clip_grad=dict(max_norm=35),
    optimizer=dict(lr=0.01, type='SGD'),
    type='AmpOptimWrapper')
train_cfg = dict(max_epochs=3, type='EpochBasedTrainLoop')

"""
STARTED = f"{SAYS}Checkpoints will be saved to runs/m.\n"


def row(epoch: int, iteration: int, loss: float) -> str:
    return (
        f"{SAYS}Epoch(train)   [{epoch}][{iteration}/4]  base_lr: 1.0000e-04 lr: 1.0000e-03  "
        f"eta: 1 day, 4:59:11  time: 9.9787  data_time: 9.0130  memory: 8310  grad_norm: 2.5000  "
        f"loss: {loss:.4f}  loss_kpt: {loss:.4f}\n"
    )


VAL = (
    f"{SAYS}Epoch(val) [1][2/2]    eta: 0:00:00  time: 0.0032  data_time: 0.0028  memory: 500  \n"
    f"{SAYS}Epoch(val) [1][2/2]    coco/bbox_mAP: 0.2318  data_time: 0.0028  time: 0.0032\n"
)
FIRST = SETUP + STARTED + row(1, 2, 3.0) + row(1, 4, 2.5) + f"{SAYS}Saving checkpoint at 1 epochs\n" + VAL
FIRST += row(2, 2, 2.0)
LOADED = f"{SAYS}Load checkpoint from runs/epoch_1.pth\n{SAYS}resumed epoch: 1, iter: 4\n"
SECOND = SETUP + LOADED + STARTED + row(2, 2, 2.1) + row(2, 4, 1.9)


def logged(folder: Path, *texts: str) -> Log:
    paths = [folder / f"{number}.log" for number, _ in enumerate(texts)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return read(paths)


def test_a_real_line_is_read_with_all_its_values(tmp_path: Path) -> None:
    text = (
        "2023/06/05 20:10:13 - mmengine - INFO - Epoch(train)   [1][1/6]  lr: 4.000000e-08  eta: 4:59:11"
        "  time: 9.978710  data_time: 9.013012  loss: 0.421912  loss_kpt: 0.421912\n"
    )
    log = logged(tmp_path, text)
    assert (log.format, log.iters_per_epoch) == ("mmengine-text", 6)
    (only,) = log.rows
    assert only.values == {
        "lr": 4e-08,
        "time": 9.97871,
        "data_time": 9.013012,
        "loss": 0.421912,
        "loss_kpt": 0.421912,
    }


def test_the_set_up_and_the_config_are_known(tmp_path: Path) -> None:
    log = logged(tmp_path, FIRST)
    assert log.setup == {
        "backend": "gloo",
        "gpus": "2",
        "gpu": "NVIDIA A40",
        "torch": "2.0.1",
        "work_dir": "runs/m",
    }
    assert log.max_epochs == 3
    assert log.config["log_config.interval"] == 2
    assert log.config["optimizer_config.grad_clip.max_norm"] == 35
    assert log.config["fp16"] is True


def test_an_evaluation_is_its_metrics_and_not_its_times(tmp_path: Path) -> None:
    (val,) = (one for one in logged(tmp_path, FIRST).rows if one.phase == "val")
    assert (val.epoch, val.values) == (1, {"coco/bbox_mAP": 0.2318})


def test_two_attempts_that_overlap_are_one_training(tmp_path: Path) -> None:
    log = logged(tmp_path, FIRST, SECOND)
    trained = [(one.step, one.values["loss"]) for one in log.rows if one.phase == "train"]
    assert trained == [(2, 3.0), (4, 2.5), (6, 2.1), (8, 1.9)]
    assert (log.restarts, log.redone_iterations) == (1, 2)
    assert [one.kind for one in log.markers if one.segment == 1] == ["loaded", "resumed", "started"]


def test_the_console_log_and_mmengines_own_file_are_one_training(tmp_path: Path) -> None:
    log = logged(tmp_path, FIRST, FIRST.replace(SAYS, f"2023/{SAYS}"))
    assert [one.step for one in log.rows if one.phase == "train"] == [2, 4, 6]
    assert log.restarts == 0


def test_a_line_that_is_cut_off_is_skipped(tmp_path: Path) -> None:
    log = logged(tmp_path, FIRST + row(2, 4, 1.9)[:-4])
    assert log.skipped_lines == 1
    assert max(one.step for one in log.rows) == 6


def test_a_training_by_iterations_is_read_too(tmp_path: Path) -> None:
    lines = [f"{SAYS}Iter(train) [   {at}/40000]  lr: 1.0000e-02  loss: 2.{at}00\n" for at in (50, 100)]
    log = logged(tmp_path, "".join(lines))
    assert [(one.step, one.values["loss"]) for one in log.rows] == [(50, 2.5), (100, 2.1)]
    assert log.iters_per_epoch == 40000


def as_json(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(one) + "\n" for one in rows)


def step(epoch: int, at: int) -> dict[str, object]:
    return {"lr": 0.01, "loss": 1.0 / at, "epoch": epoch, "iter": at, "step": at}


EVALUATED: dict[str, object] = {"coco/bbox_mAP": 0.25, "time": 0.1, "step": 1}


@pytest.mark.parametrize(
    "rows",
    [
        # Of epochs of 7 iterations each second one is logged; a file that begins with a resume; one row each.
        [step(1, 2), step(1, 4), step(1, 6), EVALUATED, step(2, 9), step(2, 11), step(2, 13)],
        [step(3, 16), step(3, 18), step(3, 20)],
        [step(1, 7), EVALUATED, step(2, 14)],
    ],
)
def test_json_counts_iterations_over_the_whole_run(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    log = logged(tmp_path, as_json(*rows))
    assert (log.format, log.iters_per_epoch) == ("mmengine-json", 7)
    assert [(one.step, one.epoch) for one in log.rows if one.phase == "train"] == [
        (one["iter"], one["epoch"]) for one in rows if "iter" in one
    ]
    assert [one.values for one in log.rows if one.phase == "val"] == [{"coco/bbox_mAP": 0.25}] * (
        EVALUATED in rows
    )


def test_json_without_epochs_counts_iterations_alone(tmp_path: Path) -> None:
    rows = [{"loss": 1.0, "iter": at, "step": at} for at in (50, 100)]
    log = logged(tmp_path, as_json(*rows, {"mIoU": 0.5, "step": 100}) + "{torn\n")
    assert [(one.step, one.phase) for one in log.rows] == [(50, "train"), (100, "train"), (100, "val")]
    assert log.skipped_lines == 1


@pytest.mark.parametrize("line", ['{"step": 1, "iter": 2}', '{"step": true, "iter": true}', '{"step": [], '])
def test_other_json_is_not_claimed(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.json").write_text(f"{line}\n")
    with pytest.raises(Exception, match="has no line of a known format"):
        read([tmp_path / "a.json"])
