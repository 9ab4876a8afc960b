"""What a metric's name tells without a knowledge file: group, family, frame, layer, and twins."""

from __future__ import annotations

import pytest

from trainrelay.analysis import grouped
from trainrelay.analysis.knowledge.model import Knowledge
from trainrelay.analysis.naming import (
    Parts,
    earlier_layers,
    is_component,
    layered,
    overall_score,
    split,
    validation_scores,
    without_twins,
)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("loss_ce", ("loss_ce", None, False, "", None, "loss_ce")),
        ("loss_ce_3", ("loss_ce", 3, False, "", None, "loss_ce")),
        ("loss_ce_3_unscaled", ("loss_ce", 3, True, "", None, "loss_ce_unscaled")),
        ("loss_ce_room_unscaled", ("loss_ce_room", None, True, "", None, "loss_ce_room_unscaled")),
        (
            "track.frame_2_loss_past_trajs_0",
            ("track.frame_2_loss_past_trajs", 0, False, "track", "2", "track.loss_past_trajs"),
        ),
        ("map.d3.loss_cls_f", ("map.d3.loss_cls_f", None, False, "map", None, "map.loss_cls_f")),
        ("motion.d1.min_ade", ("motion.d1.min_ade", None, False, "motion", None, "motion.min_ade")),
        ("d0.loss_cls", ("d0.loss_cls", None, False, "d0", None, "d0.loss_cls")),
        ("pck@0.1", ("pck@0.1", None, False, "", None, "pck@0.1")),
        ("box/AP_dist_0.5", ("box/AP_dist_0.5", None, False, "", None, "box/AP_dist_0.5")),
        ("", ("", None, False, "", None, "")),
        ("x\n.", ("x\n.", None, False, "x\n", None, "x\n.")),
    ],
)
def test_a_name_is_taken_apart(name: str, parts: tuple[object, ...]) -> None:
    assert split(name) == Parts(*parts)


def test_the_number_in_a_name_makes_no_group_where_no_file_knows_it() -> None:
    assert Knowledge().of("pck@0.1").group == "other"


def test_an_index_of_any_length_is_no_number_to_compute_with() -> None:
    long = "loss_" + "9" * 5000
    assert split(long).layer is None
    assert layered(["loss", long]) == {}


def test_layers_are_numbers_of_a_loss_that_is_there_without_one() -> None:
    names = ["loss_ce", "loss_ce_1", "loss_ce_0", "loss_ce_0_unscaled", "loss_lonely_0", "error", "error_0"]
    assert layered(names) == {"loss_ce": ("loss_ce_0", "loss_ce_1", "loss_ce")}


def test_earlier_layers_are_one_family() -> None:
    names = {"loss_giou", "error_unscaled"}
    assert earlier_layers("loss_giou_2", names) == "loss_giou_*"
    assert earlier_layers("error_2_unscaled", names) == "error_*_unscaled"
    assert earlier_layers("loss_giou", names) is None
    assert earlier_layers("loss_other_2", names) is None


def test_the_track_losses_of_three_frames_and_six_layers_are_one_family() -> None:
    names = [f"track.frame_{frame}_loss_cls_{layer}" for frame in range(3) for layer in range(6)]
    assert grouped(names) == {"track": {"track.loss_cls": names}}


def test_no_metric_is_lost_or_counted_twice() -> None:
    metrics = ["map.d0.loss_cls", "map.loss_cls", "lr", "decode.loss_ce", "a.b.c", "x.", "_unscaled"]
    found = [name for families in grouped(metrics).values() for names in families.values() for name in names]
    assert sorted(found) == sorted(metrics)


def test_the_groups_of_a_knowledge_file_come_first_and_in_its_order() -> None:
    groups = grouped(["zoo.x", "planning.a", "occ.a", "motion.a", "map.a", "track.a"])
    assert list(groups) == ["track", "map", "motion", "occ", "planning", "zoo"]


@pytest.mark.parametrize(
    "metric", ["lr", "lr_backbone", "x/lr0", "time", "data_time", "memory", "grad_norm", "loss", "all"]
)
def test_totals_rates_and_machine_numbers_are_no_components(metric: str) -> None:
    assert not is_component(metric, total="all")


def test_an_unscaled_twin_goes_only_where_its_scaled_one_is_there() -> None:
    names = ["loss_ce", "loss_ce_unscaled", "loss_ce_0_unscaled", "cardinality_error_unscaled"]
    assert without_twins(names) == ["loss_ce", "loss_ce_0_unscaled", "cardinality_error_unscaled"]


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (["loss", "class_error"], ["loss", "loss_ce", "class_error", "pck@0.1"], ["pck@0.1"]),
        (["loss", "acc1"], ["loss", "acc1", "time"], ["acc1"]),
        (["loss"], ["loss"], []),
    ],
)
def test_a_validation_is_known_by_what_only_it_measures_else_by_what_training_measures_too(
    train: list[str], val: list[str], expected: list[str]
) -> None:
    assert validation_scores(train, val) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a_AP", "mATE", "x/NDS", "mAP"], "x/NDS"), (["pck@0.1", "pck@0.2"], "pck@0.1"), ([], None)],
)
def test_an_overall_score_is_told_before_a_part_of_it(names: list[str], expected: str | None) -> None:
    assert overall_score(names) == expected
