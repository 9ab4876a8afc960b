"""A gradient norm that is NaN or infinite: a step that the loss scaler skipped, or a lost training."""

from __future__ import annotations

import json
import math

import pytest

from support.metriclogger_logs import write_metriclogger_json, write_metriclogger_log
from support.mmcv_logs import write_mmcv_log
from trainrelay.analysis import analyze
from trainrelay.analysis.readers import read
from trainrelay.progress_lines.not_finite import LOST_AFTER_LINES

FP16 = "fp16 = dict(loss_scale='dynamic')\n"
INVALID = "ValueError: matrix contains invalid numeric entries"
STEPS = 200  # of two epochs; a line per ten of them


def at(steps, value):
    """A gradient norm that is `value` at some of the logged steps."""
    return {"grad_norm": lambda step: value if step in steps else 40.0}


def told(tmp_path, metrics, config="", **options):
    path = write_mmcv_log(tmp_path / "x.log", metrics=metrics, **options)
    path.write_text(path.read_text().replace("total_epochs =", f"{config}total_epochs ="))
    analysis = analyze(read([path]))
    found = [one for one in analysis.findings if one.check == "non-finite" and one.metric == "grad_norm"]
    assert len(found) == 1
    return found[0], analysis


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("steps", [{10}, {150}, {10, 80, 150, 190}, {10, 20, 30}, {100, 110}])
@pytest.mark.parametrize(("config", "words"), [(FP16, ": skipped by"), ("", ": most likely skipped by")])
def test_a_norm_that_is_finite_again_is_a_skipped_step(tmp_path, steps, value, config, words):
    finding, analysis = told(tmp_path, at(steps, value), config)
    assert (finding.severity, finding.blocking, finding.advice) == ("info", False, "")
    assert f"{words} the loss scaler" in finding.message
    assert ("does not show mixed precision" in finding.message) is not config
    assert analysis.verdict.kind == "healthy"


@pytest.mark.parametrize(
    "config",
    [
        FP16,
        "fp16 = dict(loss_scale=512.)\n",
        "optimizer_config = dict(type='Fp16OptimizerHook')\n",
        "use_amp = True\n",
        "amp = True\n",
    ],
)
def test_mixed_precision_is_known_from_the_config_that_the_log_shows(tmp_path, config):
    assert ": skipped by" in told(tmp_path, at({50}, math.inf), config)[0].message


@pytest.mark.parametrize("config", ["fp16 = None\n", "amp = False\n", "amplitude = 3\n"])
def test_a_switch_that_is_off_is_no_mixed_precision(tmp_path, config):
    assert "most likely" in told(tmp_path, at({50}, math.inf), config)[0].message


@pytest.mark.parametrize("config", ["", FP16])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_that_stays_so_to_the_end_blocks(tmp_path, config, value):
    last = range(STEPS - 10 * LOST_AFTER_LINES + 10, STEPS + 1)
    finding, analysis = told(tmp_path, at(last, value), config)
    assert (finding.severity, finding.blocking, analysis.verdict.kind) == ("critical", True, "failed")
    assert "stays so to the end" in finding.message


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_few_last_lines_are_a_warning_only_where_a_scaler_is_known_to_skip(tmp_path, value):
    last = range(STEPS - 10 * LOST_AFTER_LINES + 20, STEPS + 1)
    known = told(tmp_path, at(last, value), FP16)[0]
    assert (known.severity, known.blocking) == ("warning", False)
    skipped_before = told(tmp_path, at({50, *last}, value))[0]
    assert (skipped_before.severity, skipped_before.blocking) == ("warning", False)
    unknown = told(tmp_path, at(last, value))[0]
    assert (unknown.severity, unknown.blocking) == ("critical", True)


def test_a_loss_that_is_not_finite_either_is_no_skipped_step(tmp_path):
    course = {**at({150}, math.nan), "map.loss_iou": lambda step: math.nan if step == 150 else 1.0}
    finding = told(tmp_path, course, FP16)[0]
    assert (finding.severity, finding.blocking) == ("critical", True)


@pytest.mark.parametrize("config", ["", FP16])
def test_a_crash_after_a_norm_that_is_nan_is_divergence_also_where_the_losses_hide_it(tmp_path, config):
    """UniAD passes its losses through nan_to_num, and then fails in the Hungarian matching."""
    finding, analysis = told(tmp_path, at({140}, math.nan), config, error=INVALID, stop=(2, 40))
    assert (finding.severity, finding.blocking, analysis.verdict.kind) == ("critical", True, "failed")
    assert finding.message.endswith(f"and then the trainer failed with `{INVALID}`.")


def test_an_infinite_norm_before_a_crash_is_the_scalers_business(tmp_path):
    finding = told(tmp_path, at({140}, math.inf), FP16, error="RuntimeError: boom", stop=(2, 40))[0]
    assert (finding.severity, finding.blocking) == ("warning", False)


def test_a_json_log_says_no_more_than_it_shows(tmp_path):
    path = tmp_path / "None.log.json"
    norms = [3.0, math.nan, 2.0, math.inf, 2.0]
    rows = [
        {"mode": "train", "epoch": 1, "iter": 50 * n, "lr": 0.1, "loss": 5.0 - n / 2, "grad_norm": norm}
        for n, norm in enumerate(norms, start=1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    finding = next(one for one in analyze(read([path])).findings if one.check == "non-finite")
    assert (finding.severity, finding.evidence["places"]) == ("info", 2)
    assert "does not show mixed precision" in finding.message


@pytest.mark.parametrize("write", [write_metriclogger_json, write_metriclogger_log])
@pytest.mark.parametrize("bad", [{2}, {3}, {1, 2, 3}])
def test_an_epochs_mean_that_a_skipped_step_spoiled_never_blocks(tmp_path, write, bad):
    course = {"grad_norm": lambda step: math.inf if math.ceil(step / 25) in bad and step % 25 == 7 else 3.0}
    path = write(tmp_path / "log", epochs=3, metrics=course)
    found = [one for one in analyze(read([path])).findings if one.check == "non-finite"]
    assert not any(one.blocking for one in found)
