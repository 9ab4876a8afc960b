"""The packaged knowledge: valid, and complete for UniAD's metrics."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from support.mmcv_logs import Training
from trainrelay.analysis import explain_words
from trainrelay.analysis.case import Case
from trainrelay.analysis.knowledge import best_for, packaged
from trainrelay.analysis.knowledge.model import Knowledge
from trainrelay.records import Expectation, Log, Row


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


LAYERS = ("", *(f"d{n}." for n in range(5)))
# As these trainers log them; `loss`, times and the like left out.
LOGGED = {
    "BEVFormer and its relatives": [f"{layer}loss_{term}" for layer in LAYERS for term in ("cls", "bbox")],
    "detectors of mmdet with a DETR head": [
        *(f"{layer}loss_{term}" for layer in LAYERS for term in ("cls", "bbox", "iou")),
        *("enc_loss_cls", "enc_loss_bbox", "enc_loss_iou", "dn_loss_cls", "d3.dn_loss_iou"),
    ],
    "StreamPETR": [
        *(f"frame_0_{layer}{dn}loss_{t}" for layer in LAYERS for dn in ("", "dn_") for t in ("cls", "bbox")),
        *("frame_0_enc_loss_cls", "frame_0_enc_loss_bbox", "frame_0_enc_loss_iou"),
        *("frame_0_centers2d_losses", "frame_0_centerness_losses"),
    ],
    "mmseg": ["decode.loss_ce", "decode.acc_seg", "aux.loss_ce", "aux.acc_seg"],
    "mmpose": ["heatmap_loss", "acc_pose"],
    "UniAD": [
        "planning.loss_grpo",
        "planning.loss_kl",
        "planning.reward",
        "planning.loss_ade",
        "map.loss_cls",
    ],
}
ONE_STAGE = "one-stage detectors of mmdet"


@pytest.mark.parametrize(
    ("model", "names"),
    [
        *LOGGED.items(),
        ("mmseg", ["decode.loss_seg", "decode.acc_seg", "aux.loss_seg", "aux.acc_seg"]),
        ("mmseg", ["decode.loss_cls", "decode.loss_mask", "decode.loss_dice", "decode.d0.loss_mask"]),
        ("mmpose", ["loss_kpt", "acc_pose"]),
        (ONE_STAGE, ["loss_cls", "loss_bbox"]),
        (ONE_STAGE, ["loss_cls", "loss_bbox", "loss_centerness"]),
        (ONE_STAGE, ["loss_cls", "loss_bbox", "loss_obj", "loss_l1"]),
        (ONE_STAGE, ["loss_cls", "loss_conf", "loss_xy", "loss_wh"]),
        (ONE_STAGE, ["loss_cls", "loss_bbox", "loss_dfl"]),
    ],
)
def test_every_loss_that_a_trainer_logs_is_known(model, names):
    knowledge = best_for(names)
    assert knowledge.name == model
    assert [name for name in names if not knowledge.of(name).source] == []
    titles = [section.title for section in explain_words(names).sections]
    assert [name for name in names if f"{name} ({model})" not in titles] == []


@pytest.mark.parametrize(
    "names", [["loss_cls", "top1_acc", "top5_acc"], ["loss_cls", "d0.loss_cls", "loss_mask"]]
)
def test_a_class_loss_alone_is_of_no_detector(names):
    """Of an action recogniser, and of Mask2Former."""
    assert best_for(names) == Knowledge()


def test_a_pretraining_of_mae_is_known_by_its_arguments():
    """Its one metric could be any trainer's."""
    row = Row(1, 1, 0, "train", 0, {"loss": 1.0, "lr": 1e-4})
    log = Log("metriclogger-text", ("log",), (row,), config={"mask_ratio": 0.75, "norm_pix_loss": True})
    assert Case(log, Expectation()).knowledge.name == "MAE pretraining"


def test_likelihoods_and_rewards_may_be_negative_and_nothing_else():
    negative = {one.family or one.label for file in packaged() for one in file.metrics if one.negative}
    assert negative == {*("motion.*l_reg", "motion.*loss_traj", "policy loss", "{1} of the sampled plans")}


def test_an_unknown_model_is_sorted_by_its_names_alone():
    knowledge = best_for(["depth.loss_si"])
    assert knowledge == Knowledge()
    assert knowledge.of("depth.loss_si").group == "depth"
    assert knowledge.of("depth.acc").direction is None


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
