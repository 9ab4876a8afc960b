"""How a hundred metrics become a few families."""

from __future__ import annotations

import pytest

from support.sample_report import map_shapes, track_shapes
from trainrelay.report.families import grouped, is_component, place, spread


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
        ("loss", "", "loss"),
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
