"""The packaged knowledge of the keypoint system and of log formats."""

from __future__ import annotations

import pytest

from trainrelay.analysis import analyze
from trainrelay.analysis.checks import CHECKS, FATAL
from trainrelay.analysis.knowledge import best_for, of_format, packaged
from trainrelay.records import Log, Row

KEYPOINTS = ["loss_ce", "loss_coords", "loss_ce_room"]
DETR = ["loss_ce", "loss_bbox", "loss_giou", "class_error", "loss_ce_0", "loss_ce_unscaled"]


@pytest.mark.parametrize(
    ("name", "group", "family", "loss"),
    [
        ("loss_ce", "Classification", "loss_ce", True),
        ("loss_ce_4", "Classification", "loss_ce_*", True),
        ("loss_ce_unscaled", "Classification", "loss_ce*_unscaled", False),
        ("loss_ce_0_unscaled", "Classification", "loss_ce*_unscaled", False),
        ("loss_coords", "Coordinate", "loss_coords", True),
        ("loss_coords_0", "Coordinate", "loss_coords_*", True),
        ("loss_coords_3_unscaled", "Coordinate", "loss_coords*_unscaled", False),
        ("loss_ce_room", "Category", "loss_ce_room", True),
        ("loss_ce_room_2", "Category", "loss_ce_room_*", True),
        ("loss_ce_room_2_unscaled", "Category", "loss_ce_room*_unscaled", False),
        ("class_error", "Quality", "class_error", False),
        ("class_error_unscaled", "Quality", "class_error", False),
        ("cardinality_error_1_unscaled", "Quality", "cardinality_error*", False),
        ("pck@0.1", "Quality", "pck@0.1", False),
    ],
)
def test_every_metric_of_the_keypoint_system_is_known(name, group, family, loss):
    meaning = best_for(KEYPOINTS).of(name)
    assert (meaning.group, meaning.family, meaning.loss) == (group, family, loss)
    assert meaning.meaning
    assert meaning.source


def test_every_pattern_of_the_keypoint_system_is_tested_above():
    marks = test_every_metric_of_the_keypoint_system_is_known.pytestmark
    names = [case[0] for case in marks[0].args[1]]
    known = best_for(KEYPOINTS)
    used = {known.known(name).pattern for name in names}
    assert used == {meaning.pattern for meaning in known.metrics}


def test_a_detr_log_is_not_taken_for_the_keypoint_system():
    assert best_for(DETR).name == "DETR"
    assert best_for(KEYPOINTS).name == "keypoints"


def test_the_users_typical_values_are_there():
    known = best_for(KEYPOINTS)
    assert known.of("loss_coords").typical.words().startswith("0.2 to 1.5")
    assert "-100 to -300" in known.of("loss_ce").typical.words()
    assert "0.0 without CLS tokens" in known.of("loss_ce_room").typical.words()


def test_classes_may_not_be_negative_and_are_cross_entropies():
    known = best_for(KEYPOINTS)
    for name in ("loss_ce", "loss_ce_2", "loss_ce_room"):
        assert known.of(name).cross_entropy
        assert not known.of(name).negative


@pytest.mark.parametrize("form", ["metriclogger-text", "metriclogger-json", "mmcv-text", "mmcv-json"])
def test_each_format_has_the_fields_of_its_line(form):
    assert {"epoch", "batch", "eta", "lr", "time"} <= {field.key for field in of_format(form).progress}


def test_every_sign_and_concept_names_checks_that_exist():
    """A check goes by the name of its findings, which is its function's with hyphens, or listed here."""
    names = {check.__name__.replace("_", "-") for check in (*CHECKS, *FATAL)} | {"lost-term"}
    said = {name for file in packaged() for one in (*file.signs, *file.concepts) for name in one.checks}
    assert said <= names


def test_a_models_own_words_come_before_those_of_the_format():
    known = best_for(KEYPOINTS).over(of_format("metriclogger-text"))
    assert "6 decoder layers" in known.concept("auxiliary").text
    assert known.progress
    assert known.coefficients["loss_bbox"] == "bbox_loss_coef"


@pytest.mark.parametrize("file", packaged(), ids=lambda file: file.name)
def test_no_knowledge_file_says_half_of_something(file):
    for meaning in file.metrics:
        assert (meaning.zero == "switch") == bool(meaning.switch), meaning.pattern
        typical = meaning.typical
        assert typical is None or (typical.low is None) == (typical.high is None), meaning.pattern
        assert typical is None or typical.low is not None or typical.text, meaning.pattern
    for sign in file.signs:
        assert sign.checks, sign.text
        assert (sign.judge == "falls") == bool(sign.falls), sign.text


def test_layers_of_an_unknown_model_are_one_family_and_twins_are_left_out():
    names = [f"loss_depth{tail}{twin}" for tail in ("", "_0", "_1") for twin in ("", "_unscaled")]
    rows = tuple(Row(at, at, 0, "train", 0, dict.fromkeys(["loss", *names], 9.0 - at)) for at in (1, 2, 3))
    analysis = analyze(Log("metriclogger-json", ("log",), rows, epochs_only=True))
    metrics = [one.metric for one in analysis.findings if one.check == "components"]
    assert metrics == ["loss_depth", "loss_depth_*"]
