"""The packaged knowledge of DETR, of torchvision's detectors and of classification."""

from __future__ import annotations

import pytest

from trainrelay.analysis import analyze
from trainrelay.analysis.knowledge import best_for, of_format, packaged
from trainrelay.analysis.knowledge.model import Knowledge
from trainrelay.records import Log, Row

LOSSES = {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}
NAMES = [*LOSSES, "class_error", "loss_bbox_0", "loss_giou_unscaled", "cardinality_error_unscaled"]
RCNN = ["loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"]
MMDET = ["loss_cls", "loss_bbox", "loss_rpn_cls", "loss_rpn_bbox", "acc"]


def detr_log(epochs: int = 6, *, early_layers_count_worse: bool = False) -> Log:
    """A log.txt of DETR: 3 decoder layers, everything falls by half from epoch to epoch, and AP rises."""
    rows = [row for epoch in range(epochs) for row in epoch_rows(epoch, early_layers_count_worse)]
    return Log("metriclogger-json", ("log.txt",), tuple(rows), epochs_only=True)


def epoch_rows(epoch: int, early_layers_count_worse: bool) -> tuple[Row, Row]:
    now = 0.5**epoch
    raw = {f"{name}{layer}": now for name in LOSSES for layer in ("_0", "_1", "")}
    terms = {name: value * LOSSES[name.rstrip("_01")] for name, value in raw.items()}
    values = {
        "loss": sum(terms.values()),
        **terms,
        **{f"{name}_unscaled": value for name, value in raw.items()},
        "class_error": 90 * now,
        "cardinality_error_unscaled": 8 * now,
        "cardinality_error_0_unscaled": 8 + epoch if early_layers_count_worse else 8 * now,
    }
    tested = {**values, "coco_eval_bbox[0]": 0.4 - 0.3 * now, "coco_eval_bbox[8]": 0.6 - 0.3 * now}
    number = epoch + 1
    return Row(number, number, 0, "train", 0, values), Row(number, number, 0, "val", 0, tested)


@pytest.mark.parametrize(
    ("name", "group", "family", "direction"),
    [
        ("loss_ce", "Classification", "loss_ce", "down"),
        ("loss_ce_4", "Classification", "loss_ce_*", "down"),
        ("loss_ce_4_unscaled", "Classification", "loss_ce*_unscaled", "down"),
        ("loss_bbox", "Boxes", "loss_bbox", "down"),
        ("loss_bbox_0", "Boxes", "loss_bbox_*", "down"),
        ("loss_bbox_unscaled", "Boxes", "loss_bbox*_unscaled", "down"),
        ("loss_giou", "Boxes", "loss_giou", "down"),
        ("loss_giou_3", "Boxes", "loss_giou_*", "down"),
        ("loss_giou_3_unscaled", "Boxes", "loss_giou*_unscaled", "down"),
        ("loss_mask", "Masks", "loss_mask", "down"),
        ("loss_dice", "Masks", "loss_dice", "down"),
        ("loss_dice_unscaled", "Masks", "loss_dice_unscaled", "down"),
        ("class_error_unscaled", "Quality", "class_error", "down"),
        ("cardinality_error_unscaled", "Quality", "cardinality_error", "down"),
        ("cardinality_error_2_unscaled", "Quality", "cardinality_error_*", None),
        *((f"coco_eval_bbox[{at}]", "Quality", f"coco_eval_bbox[{at}]", "up") for at in range(12)),
        ("coco_eval_masks[0]", "Quality", "coco_eval_masks[0]", "up"),
    ],
)
def test_every_metric_of_detr_is_known(name: str, group: str, family: str, direction: str | None) -> None:
    meaning = best_for(NAMES).known(name)
    assert meaning is not None
    assert (meaning.group, meaning.family, meaning.direction) == (group, family, direction)
    assert meaning.meaning
    assert meaning.source


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (NAMES, "DETR"),
        (["loss_giou"], "DETR"),
        (["loss_ce", "loss_ce_0", "class_error"], ""),
        (MMDET, "two-stage detectors of mmdet and detectron2"),
        (RCNN, "torchvision's R-CNNs"),
        ([*RCNN, "loss_mask"], "torchvision's R-CNNs"),
    ],
)
def test_a_model_is_recognised_by_the_losses_that_only_it_has(names: list[str], model: str) -> None:
    assert best_for(names).name == model


def test_every_metric_that_is_known_has_examples_which_its_own_pattern_is_the_first_to_match() -> None:
    for knowledge in packaged():
        for meaning in knowledge.metrics:
            for name in meaning.examples or [meaning.pattern]:
                known = knowledge.known(name)
                assert known is not None
                assert known.pattern == meaning.pattern


@pytest.mark.parametrize("name", [*RCNN, "loss_mask", "loss_keypoint"])
def test_every_loss_of_torchvisions_detectors_is_known(name: str) -> None:
    known = best_for(RCNN).known(name)
    assert known is not None
    assert known.meaning


def test_accuracies_are_known_in_every_log_of_a_metric_logger() -> None:
    for model in (Knowledge(), best_for(NAMES)):
        known = model.over(of_format("metriclogger-json")).known("acc5")
        assert known is not None
        assert (known.label, known.direction) == ("top-5 accuracy", "up")


def test_a_healthy_detr_log_is_explained_and_nothing_in_it_is_a_warning() -> None:
    analysis = analyze(detr_log(early_layers_count_worse=True))
    assert analysis.verdict.kind == "healthy", analysis.verdict.reason
    assert analysis.explanation is not None
    assert analysis.explanation.model == "DETR"
    titles = [section.title for section in analysis.explanation.sections]
    assert titles[2:5] == [
        "loss_ce: classification loss",
        "loss_bbox and loss_giou: box losses",
        "Errors and validation metrics",
    ]
    quality = {item.name: dict(item.facts) for item in analysis.explanation.sections[4].items}
    assert quality["coco_eval_bbox[0]"]["here"].startswith("0.1 -> 0.391")
    assert quality["cardinality_error_unscaled"]["direction"] == "lower is better"
