"""mmcv text logs: rows, markers, facts, and everything that gets between them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from support.mmcv_logs import mmcv_text, write_mmcv_log
from support.series import metrics_of
from trainrelay.analysis.readers import read

HEAD = "2022-06-19 13:40:00,011 - mmdet - INFO - "


def log_of(tmp_path: Path, text: str):
    path = tmp_path / "trainer.log"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return read([path])


def test_a_line_becomes_a_row_with_every_number_but_the_eta(tmp_path):
    log = log_of(
        tmp_path,
        HEAD + "Epoch [2][50/3517]\tlr: 7.973e-05, eta: 2 days, 5:46:49, time: 2.295, data_time: 1.499,"
        " memory: 8310, loss_cls: 1.4230, loss: 19.1854, grad_norm: 15.3972\n",
    )
    row = log.rows[0]
    assert log.format == "mmcv-text"
    assert (row.step, row.epoch, row.iteration, row.phase) == (3567, 2, 50, "train")
    assert row.values == {
        "lr": 7.973e-05,
        "time": 2.295,
        "data_time": 1.499,
        "memory": 8310,
        "loss_cls": 1.423,
        "loss": 19.1854,
        "grad_norm": 15.3972,
    }


def test_several_learning_rates_keep_their_names_and_the_first_is_lr(tmp_path):
    line = (
        "Epoch [1][50/2439]\tlr_backbone: 2.000e-04 lr_head: 3.000e-04, eta: 79 days, 1:00:00, loss: 1.0000\n"
    )
    values = log_of(tmp_path, HEAD + line).rows[0].values
    assert values == {"lr": 2e-4, "lr_backbone": 2e-4, "lr_head": 3e-4, "loss": 1.0}


def test_iterations_over_the_whole_run_are_one_epoch(tmp_path):
    log = log_of(tmp_path, HEAD + "Iter [50/320000]\tlr: 9.799e-07, eta: 1:00:00, loss: 5.7220\n")
    assert (log.rows[0].step, log.rows[0].epoch, log.iters_per_epoch, log.max_epochs) == (50, 1, 320000, 1)


def test_validation_is_a_phase_of_its_own_at_the_end_of_its_epoch(tmp_path):
    path = write_mmcv_log(tmp_path / "a.log", epochs=2, iters_per_epoch=105, validation=True)
    rows = [row for row in read([path]).rows if row.phase == "val"]
    assert [(row.step, row.epoch) for row in rows] == [(105, 1), (210, 2)]
    assert rows[0].values == {"pts_bbox_NuScenes/mAP": 0.1, "AP (M)": 0.2}


def test_nan_and_inf_stay_what_they_are(tmp_path):
    values = log_of(tmp_path, HEAD + "Epoch [1][1/9]\tlr: 1e-4, loss: nan, grad_norm: inf\n").rows[0].values
    assert math.isnan(values["loss"])
    assert values["grad_norm"] == math.inf


def test_a_line_cut_at_the_end_of_the_file_is_skipped_and_counted(tmp_path):
    whole = HEAD + "Epoch [1][10/99]\tlr: 1.000e-04, loss_a: 1.0000, loss: 15.3972\n"
    cut = HEAD + "Epoch [1][20/99]\tlr: 1.000e-04, loss_a: 1.0000, loss: 1"
    log = log_of(tmp_path, whole + cut)
    assert [row.iteration for row in log.rows] == [10]
    assert log.skipped_lines == 1
    assert log.setup["lines of numbers that could not be read"] == "1"


def test_a_whole_last_line_without_its_line_end_counts(tmp_path):
    line = HEAD + "Epoch [1][{}/99]\tlr: 1.000e-04, loss_a: 1.0000, loss: 15.3972"
    log = log_of(tmp_path, line.format(10) + "\n" + line.format(20))
    assert [row.iteration for row in log.rows] == [10, 20]


def test_a_record_written_into_another_one_spoils_only_that_one(tmp_path):
    whole = HEAD + "Epoch [1][10/99]\tlr: 1.000e-04, loss_a: 1.0000, loss: 15.0000\n"
    torn = HEAD + "Epoch [1][20/99]\tlr: 1.000e-04, lo"
    log = log_of(tmp_path, whole + torn + whole.replace("[10/99]", "[30/99]"))
    assert [row.iteration for row in log.rows] == [10, 30]
    assert metrics_of(log) == ["lr", "loss_a", "loss"]


def test_a_progress_bar_on_the_same_line_does_not_hide_a_record(tmp_path):
    log = log_of(tmp_path, "[>>>>] 81/81, 3.2 task/s\r[>>] 9/9" + HEAD + "Epoch(val) [6][753]\tmAP: 0.2318\n")
    assert log.rows[0].values == {"mAP": 0.2318}


def test_names_and_texts_lose_escape_sequences_and_control_characters(tmp_path):
    line = "\x1b[32m" + HEAD + "Epoch [1][1/9]\tlr: 1e-4, lo\x1b[1mss\x07\x9b_a: 1.0, loss: 2.0\x1b[0m\n"
    log = log_of(tmp_path, line + HEAD + "load checkpoint from local path: ckpts/\x1b]0;title\x07a\x08.pth\n")
    assert metrics_of(log) == ["lr", "loss_a", "loss"]
    assert log.markers[0].text == "ckpts/a.pth"


def test_invalid_utf8_is_replaced(tmp_path):
    text = "warn\udcff\udcfe\n" + HEAD + "Epoch [1][1/9]\tlr: 1e-4, loss\udcff: 1.0, loss: 2.0\n"
    assert metrics_of(log_of(tmp_path, text)) == ["lr", "loss\ufffd", "loss"]


def test_a_line_of_three_megabytes_is_survived(tmp_path):
    path = write_mmcv_log(tmp_path / "a.log", epochs=1)
    path.write_text("x" * 3_000_000 + "\n" + path.read_text())
    assert len(read([path]).rows) == 10


def test_set_up_and_config_come_from_what_the_trainer_prints(tmp_path):
    log = read([write_mmcv_log(tmp_path / "a.log", epochs=6, clip=35)])
    assert log.setup == {
        "gpus": "8",
        "gpu": "NVIDIA A40",
        "torch": "1.12.1",
        "cuda": "11.8",
        "backend": "gloo",
        "host": "user@node1",
        "work_dir": "/train/uniad",
    }
    assert log.config["optimizer_config.grad_clip.max_norm"] == 35
    assert (log.max_epochs, log.interval, log.iters_per_epoch) == (6, 10, 100)


def test_the_config_is_parsed_and_never_executed(tmp_path):
    target = tmp_path / "executed"
    block = f"evil = __import__('pathlib').Path({str(target)!r}).touch()\n"
    block += "lr = dict(a=1, b=open('x'), c=[-1, 2.5])\n"
    log = log_of(
        tmp_path, f"{HEAD}Config:\n{block}stray warning (unclosed\n{HEAD}Distributed training: True\n"
    )
    assert log.config == {"lr.a": 1, "lr.c": [-1, 2.5]}
    assert not target.exists()


def test_markers_say_what_happened_and_where(tmp_path):
    text = mmcv_text(
        epochs=2, stop=(1, 100), load_from="ckpts/bevformer.pth", error="RuntimeError: NCCL error"
    )
    log = log_of(tmp_path, text)
    assert [(m.kind, m.text, m.epoch, m.iteration) for m in log.markers] == [
        ("loaded", "ckpts/bevformer.pth", None, None),
        ("started", "Start running, host: user@node1, work_dir: /train/uniad", None, None),
        ("saved", "Saving checkpoint at 1 epochs", 1, None),
        ("error", "RuntimeError: NCCL error", 1, 100),
    ]


def test_of_many_errors_the_first_is_kept(tmp_path):
    text = mmcv_text(epochs=1)
    for words in (
        "torch.cuda.OutOfMemoryError: CUDA out of memory.",
        "RuntimeError: Connection closed by peer",
    ):
        text += f"[rank0]: Traceback (most recent call last):\n[rank0]:   File x\n[rank0]: {words}\n"
    errors = [marker.text for marker in log_of(tmp_path, text).markers if marker.kind == "error"]
    assert errors == ["torch.cuda.OutOfMemoryError: CUDA out of memory."]


def test_weights_that_did_not_match_are_counted(tmp_path):
    block = (
        "2022-06-19 13:40:00,011 - mmdet - WARNING - The model and loaded state dict do not match exactly\n\n"
        "size mismatch for head.weight: copying a param\nunexpected key in source state_dict: a\n\n"
        "missing keys in source state_dict: b, c, d\n\n"
    )
    log = log_of(tmp_path, block + mmcv_text(epochs=1))
    assert log.markers[0].kind == "mismatch"
    assert log.markers[0].text.endswith("3 missing, 1 unexpected, 1 of another size, all in heads")


@pytest.mark.parametrize(
    "line",
    [
        "2023/06/05 20:10:13 - mmengine - INFO - Epoch(train)   [1][1/6]  lr: 4.0e-08  loss: 0.42\n",
        "Epoch: [0]  [  10/1458]  eta: 0:08:13  lr: 0.000100  loss: 10.0258 (11.4481)\n",
    ],
)
def test_lines_of_other_formats_are_not_taken_for_mmcv(tmp_path, line):
    log = log_of(tmp_path, line + mmcv_text(epochs=1))
    assert len(log.rows) == 10
    assert log.rows[0].iteration == 10


def test_an_evaluation_with_the_head_of_a_training_row_is_none(tmp_path):
    """As before mmcv 1.1.1, which is by epoch or by iteration."""
    train = "lr: 2.0e-02, eta: 1:00:00, time: 0.4, data_time: 0.0, loss_cls: 0.5, loss: 0.9\n"
    log = log_of(
        tmp_path,
        f"{HEAD}Epoch [1][50/100]\t{train}{HEAD}Epoch [1][100/100]\t{train}"
        f"{HEAD}Epoch [1][100/100]\tlr: 2.0e-02, bbox_mAP: 0.1660, bbox_mAP_copypaste: 0.166 0.300 0.160\n",
    )
    assert [(row.phase, row.step, row.values.get("bbox_mAP")) for row in log.rows] == [
        ("train", 50, None),
        ("train", 100, None),
        ("val", 100, 0.166),
    ]
    assert (log.segments, log.skipped_lines) == (1, 0)
    log = log_of(tmp_path, f"{HEAD}Iter [50/100]\t{train}{HEAD}Iter [100/100]\tlr: 8.3e-04, mIoU: 0.6590\n")
    assert [(row.phase, row.step, row.values.get("mIoU")) for row in log.rows] == [
        ("train", 50, None),
        ("val", 100, 0.659),
    ]
