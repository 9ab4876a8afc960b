"""What the numbers of a log mean: every part of it, with the log's own numbers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from support.mmcv_logs import write_mmcv_log
from trainrelay.analysis import analyze, explain_words, from_json, to_json
from trainrelay.analysis.knowledge import packaged
from trainrelay.analysis.readers import read
from trainrelay.errors import UserError
from trainrelay.records import Log, Row


def section(explanation, title):
    found = [one for one in explanation.sections if one.title == title]
    assert len(found) == 1, [one.title for one in explanation.sections]
    return found[0]


def item(part, name):
    found = [one for one in part.items if one.name == name]
    assert len(found) == 1, [one.name for one in part.items]
    return found[0]


def here(part, name):
    return dict(item(part, name).facts).get("here")


def sign(explanation, start):
    found = [one for one in section(explanation, "What to look for").signs if one.text.startswith(start)]
    assert len(found) == 1, start
    return found[0]


@pytest.fixture
def explained(keypoints):
    return lambda **options: analyze(keypoints(**options)).explanation


def test_the_sections_are_those_of_the_users_notes(explained):
    explanation = explained()
    assert explanation.model == "keypoints"
    assert [one.title for one in explanation.sections] == [
        "The progress line",
        "Total loss",
        "loss_ce: classification loss",
        "loss_coords: coordinate regression loss",
        "loss_ce_room: category classification loss",
        "Errors and validation metrics",
        "Auxiliary losses",
        "Scaled and unscaled",
        "A good progression",
        "What to look for",
    ]


def test_the_progress_line_is_explained_with_the_last_line_of_the_log(explained):
    line = section(explained(stop=(4, 20)), "The progress line")
    assert "Epoch: [3]  [20/40]" in line.text
    assert here(line, "[3]") == "epoch 4 of 6, printed as [3]"
    assert here(line, "[20/40]") == (
        "21 of 40 batches done (52% of the epoch); 40 batches of 2 images on 2 ranks are about 160 images"
    )
    assert here(line, "eta") == "19 iterations of this epoch left at 0.4 s each are 0:00:07"
    assert "this epoch, not for the whole training" in item(line, "eta").text
    assert here(line, "lr") == "0.0001"
    assert "a median; the mean of epoch 3 is" in here(line, "v (g)")
    assert here(line, "data") == "0.1 s, 25% of the time of an iteration"
    assert here(line, "max mem") == "900 MB"
    assert here(line, "Test:").startswith("after epoch 3, loss ")


def test_headers_that_count_from_one_are_explained_as_they_are_printed(keypoints):
    log = keypoints(stop=(4, 20))
    log = replace(log, setup={**log.setup, "epochs count from": "1"})
    line = section(analyze(log).explanation, "The progress line")
    assert here(line, "[4]") == "epoch 4 of 6, printed as [4]; this log counts from 1"


def test_the_users_numbers_of_the_line_are_there(explained):
    text = " ".join(one.text for one in section(explained(), "The progress line").items)
    for words in ("2882 batches are 5765 images by 2", "remaining for this epoch", "current learning rate"):
        assert words in text


def test_the_total_is_recomputed_from_coefficients_and_unscaled_values(explained):
    total = section(explained(), "Total loss")
    assert "classification loss + coordinate loss" in total.text
    assert (
        "4.6200 + 3.5175 + 0.0000 = 8.1375; logged: 8.1375; difference 0.0000. The sum holds." in total.text
    )
    facts = dict(item(total, "loss_coords").facts)
    assert facts["coefficient"] == "5 (coords_loss_coef in the log's Namespace)"
    assert facts["coefficient x unscaled"] == "5 x 0.7035 = 3.5175, logged 3.5175, difference 0.0000"


def test_a_coefficient_that_no_argument_tells_is_the_ratio(keypoints):
    log = keypoints()
    total = section(analyze(replace(log, config={})).explanation, "Total loss")
    assert dict(item(total, "loss_ce").facts)["coefficient"] == "2 (the ratio of scaled to unscaled)"


def test_medians_are_said_not_to_add_up(explained):
    total = section(explained(epochs=1, stop=(1, 20)), "Total loss")
    assert "medians of the last 20 iterations, which do not add up" in total.text


def test_a_total_that_lacks_parts_is_said_to_hide_terms(explained):
    total = section(explained(means={"loss": lambda epoch: 99.0}), "Total loss")
    assert "hides terms" in total.text


def test_each_loss_has_its_meaning_sign_direction_range_and_course(explained):
    coords = item(section(explained(), "loss_coords: coordinate regression loss"), "loss_coords")
    assert "L1 loss between predicted and ground truth coordinates" in coords.text
    facts = dict(coords.facts)
    assert facts["unit"] == "shares of the image size, times coords_loss_coef"
    assert "positive values are normal" in facts["sign"]
    assert facts["direction"] == "lower is better"
    assert facts["typical"] == "0.2 to 1.5, falling, e.g. 1.2 -> 0.8 -> 0.5 (one keypoint training)"
    assert facts["here"] == "1.14 -> 0.558, 51% lower (means of epochs 1 and 6); inside the typical range"
    assert facts["in validation"] == "1.08 -> 0.5, 54% lower (epochs 1 and 6)"


def test_what_is_zero_by_design_is_called_right_and_what_is_not_is_called_wrong(explained):
    title = "loss_ce_room: category classification loss"
    off = dict(item(section(explained(), title), "loss_ce_room").facts)["zero"]
    assert off.startswith("0.0 throughout, which is right here: 0.0 by design without cls tokens")
    on = section(explained(config={"cls_tokens": True}), title)
    assert "which is not right here" in dict(item(on, "loss_ce_room").facts)["zero"]


def test_auxiliary_losses_are_listed_by_layer(explained):
    auxiliary = section(explained(), "Auxiliary losses")
    assert "numbered 0 to 5; the last one, layer 5, has no number" in auxiliary.text
    facts = dict(item(auxiliary, "loss_coords_0 to loss_coords_4").facts)
    assert facts["here"] == "layers 0 to 5: 0.614, 0.603, 0.592, 0.581, 0.57, 0.558"
    assert facts["over epochs"] == "6 of 6 layers are lower than at first"


def test_scaled_and_unscaled_are_told_apart(explained):
    scaled = section(explained(), "Scaled and unscaled")
    assert "debugging purposes" in scaled.text
    assert here(scaled, "loss_coords") == "0.5000 / 0.1000: 5 times as large throughout"
    assert [one.name for one in scaled.items] == ["loss_ce", "loss_coords"]


def test_the_progression_stands_beside_the_users(explained):
    progression = section(explained(), "A good progression")
    assert "epoch 20 train 15.23, val 18.45" in progression.text
    assert item(progression, "Epoch 1").text == "train loss 20.21, val loss 19.00"
    assert [one.name for one in progression.items] == [f"Epoch {at}" for at in (1, 2, 3, 5, 6)]


@pytest.mark.parametrize(
    ("start", "check"),
    [
        ("Total loss decreasing", "convergence"),
        ("Classification loss decreasing", "components"),
        ("Coordinate loss decreasing", "components"),
        ("Validation loss tracking", "validation"),
    ],
)
def test_the_users_good_signs_are_seen_in_a_healthy_log(explained, start, check):
    found = sign(explained(), start)
    assert (found.kind, found.seen, found.check) == ("good", True, check)
    assert "->" in found.evidence


@pytest.mark.parametrize(
    ("start", "check", "evidence"),
    [
        ("Loss becoming NaN or Inf: training unstable", "non-finite", "logged numbers"),
        ("Validation loss much higher than training: overfitting", "validation", "against"),
        ("Loss not decreasing: learning rate too low or data issues", "convergence", "dropped from"),
        ("Classification loss below zero", "negative-cross-entropy", "The lowest of"),
    ],
)
def test_the_users_warning_signs_are_not_seen_in_a_healthy_log(explained, start, check, evidence):
    found = sign(explained(), start)
    assert (found.kind, found.seen, found.check) == ("warning", False, check)
    assert evidence in found.evidence


def rising(epoch):
    return 10.0 + 5.0 * epoch


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"means": {"loss": lambda epoch: math.nan}}, "Loss becoming NaN"),
        ({"val": {"loss": rising}}, "Validation loss much higher"),
        ({"train": {"loss": lambda epoch: 15.0}}, "Loss not decreasing"),
        ({"train": {"loss": rising}}, "Loss not decreasing"),
        ({"train": {"loss_ce": lambda epoch: -100.0 - epoch}}, "Classification loss below zero"),
        ({"train": {"loss_coords": lambda epoch: 0.24}}, "Coordinates learnt at"),
        ({"val": {"pck@0.1": lambda epoch: 0.9 - 0.1 * epoch}}, "PCK falling"),
        ({"config": {"cls_loss_coef": 3}}, "A loss that is not its coefficient"),
    ],
)
def test_each_warning_sign_is_seen_in_a_bad_log(explained, options, start):
    found = sign(explained(**options), start)
    assert found.seen is True
    assert any(letter.isdigit() for letter in found.evidence) or "NaN" in found.evidence


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"train": {"loss": lambda epoch: 15.0}}, "Total loss decreasing"),
        ({"train": {"loss_coords": lambda epoch: 0.24}}, "Coordinate loss decreasing"),
        ({"val": {"loss": rising}}, "Validation loss tracking"),
        ({"train": {"loss_ce_1": lambda epoch: 1.2}}, "All auxiliary losses"),
    ],
)
def test_each_good_sign_is_missed_in_a_bad_log(explained, options, start):
    assert sign(explained(**options), start).seen is False


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"validated": False}, "Validation loss tracking"),
        ({"validated": False}, "Validation loss much higher"),
        ({"epochs": 1, "kind": "json"}, "Total loss decreasing"),
        ({"epochs": 1, "kind": "json"}, "Loss not decreasing"),
        ({"layers": 1}, "All auxiliary losses"),
    ],
)
def test_what_a_log_does_not_tell_is_neither_seen_nor_not(explained, options, start):
    found = sign(explained(**options), start)
    assert found.seen is None
    assert found.evidence


def test_a_negative_cross_entropy_is_explained_and_not_taken_for_health(explained):
    explanation = explained(train={"loss_ce": lambda epoch: -100.0 - 30.0 * epoch})
    facts = dict(item(section(explanation, "loss_ce: classification loss"), "loss_ce").facts)
    assert "from -100 to -300" in facts["typical"]
    assert "logged as a log probability" in facts["typical"]
    assert "never negative" in facts["sign"]
    assert "raw logits" in facts["sign"]
    assert facts["here"].endswith("below zero, which is a warning sign")
    good = sign(explanation, "Classification loss decreasing")
    assert good.seen is None
    assert "no sign of health" in good.evidence
    assert sign(explanation, "Total loss decreasing").seen is None
    assert sign(explanation, "Classification loss below zero").seen is True


def test_a_log_of_epochs_is_explained_without_lines(explained):
    explanation = explained(kind="json")
    line = section(explanation, "The progress line")
    assert "one entry per epoch" in line.text
    assert "lines to the console" in line.text
    for field in ("[0/2882]", "eta"):
        assert here(line, field).startswith("not in this log's entries")
    assert here(line, "v (g)").endswith(", the mean over epoch 6")
    assert "The sum holds." in section(explanation, "Total loss").text


def test_a_log_of_an_unknown_model_has_what_every_training_has():
    rows = tuple(Row(at, at, 0, "train", 0, {"loss": 9.0 - at, "lr": 0.1}) for at in (1, 2, 3))
    explanation = analyze(Log("metriclogger-json", ("log",), rows, epochs_only=True)).explanation
    assert explanation.model == ""
    assert [one.title for one in explanation.sections] == [
        "The progress line",
        "Total loss",
        "What to look for",
    ]
    assert sign(explanation, "Total loss decreasing").seen is True


def test_a_log_without_a_line_has_no_explanation():
    assert analyze(Log("metriclogger-text", ("log",), ())).explanation is None


def test_of_a_format_whose_fields_nobody_described_the_last_line_is_shown():
    first, *_ = analyze(
        Log("unknown", ("log",), (Row(1, 1, 1, "train", 0, {"loss": 1.0}),))
    ).explanation.sections
    assert first.text.endswith("is of epoch 1, iter 1: loss 1")


def test_an_explanation_survives_the_round_trip(keypoints):
    analysis = analyze(keypoints(kind="json"))
    back = from_json(json.loads(json.dumps(to_json(analysis, curves=True), allow_nan=False)))
    assert back.explanation == analysis.explanation
    assert back.epochs_only
    old = {key: value for key, value in to_json(analysis).items() if key != "explanation"}
    assert from_json(old).explanation is None


# ---------------------------------------------------------------------- UniAD


@pytest.fixture(scope="module")
def uniad(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "train.log"
    return analyze(read([write_mmcv_log(path, epochs=4, validation=True)])).explanation


def test_uniads_observations_are_sections(uniad):
    titles = [one.title for one in uniad.sections]
    assert titles[:4] == ["The progress line", "Total loss", "Tracking losses", "Map losses"]
    assert {"Gradient norm", "Learning rate", "Backend", "NaN that looks like zero"} <= set(titles)


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Total loss", "about 106 at the start"),
        ("Gradient norm", "In stage 1, 50 to 60 is typical"),
        ("Learning rate", "1.866e-04"),
    ],
)
def test_uniads_typical_numbers_are_there(uniad, title, words):
    assert words in section(uniad, title).text


def test_uniads_families_have_their_typical_course_and_their_own(uniad):
    boxes = dict(item(section(uniad, "Tracking losses"), "track.*loss_bbox*").facts)
    assert "2.35 -> 0.85 to 0.95" in boxes["typical"]
    assert boxes["here"].startswith("2.")
    past = dict(item(section(uniad, "Tracking losses"), "track.*loss_past_trajs*").facts)
    assert "which is right here" in past["zero"]


def test_uniads_progress_line_counts_from_one_and_to_the_end_of_the_training(uniad):
    line = section(uniad, "The progress line")
    assert "Epoch [4][100/100]" in line.text
    assert here(line, "Epoch [4]") == "epoch 4 of 4"
    assert "whole training" in item(line, "eta").text


def test_every_sign_of_a_healthy_uniad_training_is_the_right_way_round(uniad):
    signs = section(uniad, "What to look for").signs
    assert {one.seen for one in signs if one.kind == "good"} == {True}
    assert {one.seen for one in signs if one.kind == "warning"} <= {False, None}


def test_uniads_total_is_the_sum_of_its_families(uniad):
    assert "The sum holds." in section(uniad, "Total loss").text


def test_stage_two_does_not_speak_of_stage_ones_zeros(tmp_path):
    path = write_mmcv_log(tmp_path / "train.log", stage=2, epochs=4)
    signs = section(analyze(read([path])).explanation, "What to look for").signs
    assert not [one for one in signs if one.text.startswith("Past trajectory loss 0.0")]


# ---------------------------------------------------------------------- single metrics


def test_a_metric_is_explained_without_a_log():
    explanation = explain_words(["loss_ce_3_unscaled"])
    assert explanation.model == "DETR, keypoints; a name alone does not tell which model logs it"
    facts = dict(explanation.sections[1].items[0].facts)
    assert facts["coefficient"] == "the trainer's argument cls_loss_coef"
    assert facts["layer"].startswith("decoder layer 3")
    assert "no part of the total" in facts["unscaled"]


def test_a_metrics_signs_stand_with_it():
    facts = dict(explain_words(["loss_coords"]).sections[0].items[0].facts)
    assert facts["good sign"] == "Coordinate loss decreasing (e.g. 1.2 -> 0.8 -> 0.5)"


@pytest.mark.parametrize(
    ("word", "files"),
    [
        ("[1]", ["MetricLogger"]),
        ("Epoch: [0]", ["MetricLogger"]),
        ("[   0/2882]", ["MetricLogger", "mmcv"]),
        ("eta", ["MetricLogger", "mmcv"]),
        ("ETA:", ["MetricLogger", "mmcv"]),
        ("lr", ["MAE pretraining", "MetricLogger", "mmcv", "UniAD"]),
        ("time", ["MetricLogger, mmcv"]),
        ("data", ["MetricLogger", "mmcv"]),
        ("max mem", ["MetricLogger", "mmcv"]),
        ("grad_norm", ["MetricLogger, mmcv", "UniAD"]),
        ("loss", ["keypoints", "MAE pretraining", "MetricLogger, mmcv", "UniAD"]),
    ],
)
def test_every_word_of_a_progress_line_is_explained(word, files):
    sections = explain_words([word]).sections
    assert [one.title for one in sections] == [f"{word} ({name})" for name in files]
    assert all(one.items[0].text for one in sections)


def test_an_unknown_word_is_refused_with_the_nearest_ones():
    with pytest.raises(UserError, match="Did you mean loss_coords") as caught:
        explain_words(["lr", "loss_coord"])
    assert "trainrelay explain LOG" in str(caught.value)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("pck", "pck@0.2 or pck@0.1"),
        ("PCK", "pck@0.2 or pck@0.1"),
        ("map.loss_mask_thing", "map.loss_mask_things"),
        ("loss_bbox5", "loss_bbox"),
        ("frame_0_loss_cls_0", "track.frame_0_loss_cls_0? "),
        ("Frame_0_loss_cls_0", "track.frame_0_loss_cls_0? "),
        ("0.1", "pck@0.1"),
    ],
)
def test_what_is_suggested_are_names_that_are_known(word, meant):
    with pytest.raises(UserError) as caught:
        explain_words([word])
    said = str(caught.value)
    assert f"Did you mean {meant}" in said
    suggested = said.partition("Did you mean ")[2].partition("?")[0].split(" or ")
    assert all(explain_words([name]).sections for name in suggested)


@pytest.mark.parametrize(("word", "name"), [("PCK@0.2", "pck@0.2"), ("Loss_GIoU", "loss_giou")])
def test_upper_and_lower_case_do_not_matter(word, name):
    assert explain_words([word]).sections == explain_words([name]).sections


def test_numbers_of_one_training_are_said_to_be_examples():
    """What is no fact of every log is marked as such, in every text of a file that has such numbers."""
    users = ("2e-4", "106", "50 to 60", "2881", "5765")
    for knowledge in packaged():
        for one in (*knowledge.progress, *knowledge.concepts, *knowledge.signs):
            if any(number in one.text for number in users):
                assert re.search("(?:In|in|of) one (?:UniAD|keypoint) |\\(one UniAD", one.text), one.text


def test_many_times_the_first_value_is_not_said_in_percent(keypoints):
    rising = keypoints(val={"pck@0.1": lambda epoch: 0.01 * epoch * epoch})
    quality = section(analyze(rising).explanation, "Errors and validation metrics")
    assert here(quality, "pck@0.1") == "0.01 -> 0.36, 36 times as high (epochs 1 and 6)"


def test_an_endless_word_is_not_repeated_in_full():
    with pytest.raises(UserError) as caught:
        explain_words(["x" * 10_000])
    assert len(str(caught.value)) < 400
