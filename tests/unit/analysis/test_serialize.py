"""Analysis to JSON and back."""

from __future__ import annotations

import json
import math

import pytest

from support.mmcv_logs import write_mmcv_log
from trainrelay.analysis import analyze, from_json, to_json
from trainrelay.analysis.analyze import CURVE_LIMIT, curve
from trainrelay.analysis.case import Column
from trainrelay.analysis.readers import read
from trainrelay.errors import LogError
from trainrelay.records import Row

KEYS = {"format", "segments", "epochs", "iterations", "progress", "metrics", "findings", "verdict"}


@pytest.fixture
def analysis(tmp_path):
    bad = {"map.loss_iou": lambda step: {150: math.nan, 160: math.inf}.get(step, 1.0)}
    return analyze(read([write_mmcv_log(tmp_path / "a.log", metrics=bad)]))


def through_text(found):
    return json.loads(json.dumps(found, allow_nan=False))


def test_the_object_has_the_documented_keys(analysis):
    found = to_json(analysis)
    assert set(found) >= KEYS
    assert found["verdict"] == "failed"
    assert set(found["findings"][0]) >= {
        "check",
        "severity",
        "metric",
        "where",
        "evidence",
        "advice",
        "message",
    }
    assert "curves" not in found


def test_numbers_that_json_lacks_are_written_as_documented(analysis):
    found = to_json(analysis, curves=True)
    evidence = [f["evidence"] for f in found["findings"] if f["check"] == "non-finite"]
    assert evidence[0]["value"] == "NaN"
    points = dict(found["curves"]["train"]["map.loss_iou"])
    assert points[150] is None
    assert points[160] == "Infinity"
    json.dumps(found, allow_nan=False)


def test_an_analysis_survives_the_round_trip(analysis):
    back = from_json(through_text(to_json(analysis, curves=True)))
    assert to_json(back, curves=True) == to_json(analysis, curves=True)
    assert back.progression == analysis.progression
    assert math.isnan(dict(back.curves["train"]["map.loss_iou"])[150])


@pytest.mark.parametrize(
    "damage", [lambda d: d.pop("verdict"), lambda d: d.update(findings=3), lambda d: d.clear()]
)
def test_what_is_no_analysis_is_refused_in_a_sentence(analysis, damage):
    found = to_json(analysis)
    damage(found)
    with pytest.raises(LogError, match="not an analysis"):
        from_json(found)


def test_a_curve_is_bounded_and_keeps_extremes_and_nan():
    points = [(step, math.sin(step)) for step in range(10_000)]
    points[5_003], points[7_001], points[7_777] = (5_003, 99.0), (7_001, -99.0), (7_777, math.nan)
    rows = [Row(step, 1, step, "train", 0, {}) for step, _ in points]
    kept = curve(Column(rows, [value for _, value in points]))
    assert len(kept) <= CURVE_LIMIT
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert {(5_003, 99.0), (7_001, -99.0)} <= set(kept)
    assert any(math.isnan(value) for _, value in kept)
    assert [step for step, _ in kept] == sorted({step for step, _ in kept})
