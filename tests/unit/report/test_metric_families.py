"""How a hundred metrics become a few families."""

from __future__ import annotations

import pytest

from support.sample_report import map_shapes, track_shapes
from trainrelay.report.families import (
    Family,
    by_layer,
    grouped,
    is_component,
    measured,
    overall_score,
    place,
    spread,
    without_twins,
)


@pytest.mark.parametrize(
    ("metric", "group", "family"),
    [
        ("track.frame_0_loss_cls_5", "track", "loss_cls"),
        ("track.frame_2_loss_past_trajs_0", "track", "loss_past_trajs"),
        ("map.loss_cls", "map", "loss_cls"),
        ("map.d3.loss_cls", "map", "loss_cls"),
        ("map.d3.loss_cls_f", "map", "loss_cls_f"),
        ("motion.d1.min_ade", "motion", "min_ade"),
        ("planning.loss_collision_2", "planning", "loss_collision"),
        ("loss_ce_4", "", "loss_ce"),
        ("loss_ce_4_unscaled", "", "loss_ce_unscaled"),
        ("loss", "", "loss"),
        ("pck@0.1", "", "pck@0.1"),
        ("box/car_AP_dist_0.5", "", "box/car_AP_dist_0.5"),
        ("d0.loss_cls", "d0", "loss_cls"),
    ],
)
def test_a_metric_belongs_to_the_group_before_its_dot_and_the_family_without_numbers(
    metric: str, group: str, family: str
) -> None:
    assert place(metric) == (group, family)


def test_the_track_losses_of_three_frames_and_six_layers_are_three_families() -> None:
    families = grouped(track_shapes())["track"]
    assert {family.name: len(family.members) for family in families} == {
        "loss_cls": 18,
        "loss_bbox": 18,
        "loss_past_trajs": 18,
    }
    assert spread(families) == (3, 6)


def test_no_metric_is_lost_or_counted_twice() -> None:
    metrics = [*track_shapes(), *map_shapes(), "lr", "decode.loss_ce", "a.b.c", "x."]
    members = [
        member for families in grouped(metrics).values() for family in families for member in family.members
    ]
    assert sorted(members) == sorted(metrics)


def test_the_groups_of_the_driving_stack_come_first_and_in_their_order() -> None:
    groups = grouped(["zoo.x", "planning.a", "occ.a", "motion.a", "map.a", "track.a"])
    assert list(groups) == ["track", "map", "motion", "occ", "planning", "zoo"]


@pytest.mark.parametrize(
    "metric", ["lr", "lr_backbone", "time", "data_time", "memory", "grad_norm", "loss", "all"]
)
def test_totals_rates_and_machine_numbers_are_no_components(metric: str) -> None:
    assert not is_component(metric, total="all")


def test_the_losses_of_decoder_layers_are_the_last_one_and_the_earlier_ones() -> None:
    detr = [f"loss_{name}{layer}" for layer in ("", "_0", "_1", "_10") for name in ("ce", "bbox")]
    assert by_layer(["lr", *detr, "class_error"]) == (
        Family("", "loss_ce", ("loss_ce",)),
        Family("", "loss_ce_0 to _10", ("loss_ce_0", "loss_ce_1", "loss_ce_10")),
        Family("", "loss_bbox", ("loss_bbox",)),
        Family("", "loss_bbox_0 to _10", ("loss_bbox_0", "loss_bbox_1", "loss_bbox_10")),
    )


@pytest.mark.parametrize(
    "names",
    [
        ["loss_ce_0", "loss_ce_1"],
        ["acc", "acc_1"],
        [*track_shapes(), *map_shapes()],
        ["loss_cls", "loss_bbox"],
    ],
)
def test_what_has_no_bare_last_layer_is_grouped_as_ever(names: list[str]) -> None:
    assert by_layer(names) == ()


def test_an_index_of_any_length_is_no_number_to_compute_with() -> None:
    long = "loss_" + "9" * 5000
    assert [family.name for family in by_layer(["loss", long])] == ["loss", long]


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
    assert measured(train, val) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a_AP", "mATE", "x/NDS", "mAP"], "x/NDS"), (["pck@0.1", "pck@0.2"], "pck@0.1"), ([], None)],
)
def test_an_overall_score_is_told_before_a_part_of_it(names: list[str], expected: str | None) -> None:
    assert overall_score(names) == expected
