"""Validations or checkpoints without a training row: the log interval is longer than an epoch."""

from __future__ import annotations

import json

import pytest

from support.mmcv_logs import mmcv_text
from trainrelay.analysis import analyze
from trainrelay.analysis.readers import read
from trainrelay.records import Expectation

CONFIG = "log_config = dict(interval=50, hooks=[dict(type='TextLoggerHook')])\ntotal_epochs = 10\n"


def json_log(tmp_path, *rows: object):
    path = tmp_path / "None.log.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read([path])


def val(epoch: int) -> dict[str, object]:
    return {"mode": "val", "epoch": epoch, "iter": 5, "lr": 8e-5, "top1_acc": 0.7}


def progress(analysis):
    return next(finding for finding in analysis.findings if finding.check == "progress")


@pytest.mark.parametrize("expected", [None, 12])
def test_validations_alone_are_a_warning_that_names_the_log_interval(tmp_path, expected):
    log = json_log(tmp_path, {"hook_msgs": {}, "config": CONFIG}, val(5), val(10))
    analysis = analyze(log, Expectation(epochs=expected))
    finding = progress(analysis)
    assert (finding.severity, finding.blocking, analysis.verdict.kind) == ("warning", False, "warning")
    assert finding.message == (
        "Epoch 10 was validated or saved, but no training row was logged: most likely the log interval"
        " (50 iterations) is longer than an epoch."
    )
    assert (analysis.epochs, analysis.progress.finished) == (10, expected is None)


def test_a_log_that_names_no_interval_says_less(tmp_path):
    assert "the log interval is longer" in progress(analyze(json_log(tmp_path, {}, val(5)))).message


def test_checkpoints_alone_are_one_too_and_a_resume_tells_how_long_an_epoch_is(tmp_path):
    path = tmp_path / "x.log"
    lines = mmcv_text(epochs=4, resumed=2, iters_per_epoch=40, interval=40).splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "Epoch [" not in line).replace("l=40", "l=50"))
    finding = progress(analyze(read([path]), Expectation(epochs=4)))
    assert (finding.severity, finding.blocking) == ("warning", False)
    assert finding.message.startswith("Epoch 4 was validated or saved")
    assert "(50 iterations) is longer than an epoch (40 iterations)." in finding.message


def test_an_iteration_based_training_is_not_taken_for_finished(tmp_path):
    config = "runner = dict(type='IterBasedRunner', max_iters=400)\nlog_config = dict(interval=500)\n"
    log = json_log(tmp_path, {"config": config, "env_info": ""}, {**val(1), "iter": 200})
    analysis = analyze(log)
    assert (progress(analysis).severity, analysis.progress.finished) == ("warning", False)
    assert progress(analysis).message.startswith("The training was validated or saved, but no training row")


def test_nothing_at_all_still_blocks(tmp_path):
    path = tmp_path / "x.log"
    text = mmcv_text(epochs=2, error="RuntimeError: boom", saves=False)
    path.write_text("".join(line for line in text.splitlines(keepends=True) if "Epoch [" not in line))
    finding = progress(analyze(read([path])))
    assert (finding.severity, finding.blocking) == ("critical", True)
    assert "RuntimeError: boom" in finding.message


def test_a_metriclogger_without_training_values_names_no_cause(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text('{"test_loss": 0.5, "epoch": 0}\n{"test_loss": 0.4, "epoch": 1}\n')
    finding = progress(analyze(read([path])))
    assert (finding.severity, finding.blocking) == ("warning", False)
    assert "interval" not in finding.message
