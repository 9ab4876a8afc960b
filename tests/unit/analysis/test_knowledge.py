"""The packaged knowledge: valid, and complete for UniAD's metrics."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from support.mmcv_logs import Training
from trainrelay.analysis import explain_words
from trainrelay.analysis.knowledge import best_for, packaged
from trainrelay.analysis.knowledge.model import Knowledge


@pytest.mark.parametrize("stage", [1, 2])
def test_every_metric_of_uniad_is_known(stage):
    names = list(Training(stage=stage, frames=5).courses())
    names += [
        "map.d2.loss_cls_stuff_f",
        "map.d0.loss_mask_things_f",
        "planning.loss_collision_2",
        "motion.d0.l_reg",
    ]
    knowledge = best_for(names)
    assert knowledge.name == "UniAD"
    assert all(knowledge.of(name).source for name in names)


@pytest.mark.parametrize(
    ("name", "group", "family"),
    [
        ("track.frame_2_loss_cls_5", "track", "track.*loss_cls*"),
        ("map.loss_mask_stuff", "map", "map.loss_mask_stuff"),
        ("map.d3.loss_iou", "map", "map.d*.loss_iou"),
        ("map.d3.loss_iou_f", "map", "map.d*.loss_iou_f"),
        ("motion.d1.min_fde", "motion", "motion.*min_fde"),
        ("occ.loss_aux_mask", "occ", "occ.loss_aux_mask"),
        ("planning.loss_collision_1", "planning", "planning.loss_collision*"),
    ],
)
def test_metrics_are_sorted_into_groups_and_families(name, group, family):
    meaning = best_for(["map.loss_cls"]).of(name)
    assert (meaning.group, meaning.family) == (group, family)


def test_gaussian_likelihoods_may_be_negative_and_nothing_else():
    negative = {meaning.family for file in packaged() for meaning in file.metrics if meaning.negative}
    assert negative == {"motion.*l_reg", "motion.*loss_traj"}


def test_an_unknown_model_is_sorted_by_its_names_alone():
    knowledge = best_for(["decode.loss_seg"])
    assert knowledge == Knowledge()
    assert knowledge.of("decode.loss_seg").group == "decode"
    assert knowledge.of("decode.acc_seg").direction is None


def test_an_unknown_key_in_a_knowledge_file_is_refused():
    with pytest.raises(ValidationError):
        Knowledge.model_validate({"name": "x", "metric": []})


@pytest.mark.parametrize("knowledge", packaged(), ids=lambda knowledge: knowledge.name)
def test_a_mean_over_layers_is_not_called_by_the_name_of_one(knowledge):
    """A family whose pattern takes several names, layers among them, is called by none of these."""
    for meaning in knowledge.metrics:
        if meaning.family and "_unscaled" not in meaning.family and r"\d" in meaning.pattern:
            assert not re.fullmatch(meaning.pattern, meaning.family.replace("{1}", "bbox")), meaning.family


def test_the_trajectory_loss_names_all_of_its_parts():
    (section,) = explain_words(["motion.loss_traj"]).sections
    for part in ("l_class x 0.5", "l_reg x 0.5", "min_fde x 0.25"):
        assert part in section.items[0].text
