"""One UniAD stage 1 on 8 A40s: the analysis shows what its user found by eye."""

from __future__ import annotations

import itertools

import pytest

from support.mmcv_logs import MAP_LAST, TRACK, write_mmcv_log
from trainrelay.analysis import analyze
from trainrelay.analysis.readers import read

LENGTH = 3517
TOTAL = [
    (10, 105.67),
    (100, 81.68),
    (610, 66.16),
    (3510, 55.46),
    (3527, 56.70),
    (7044, 53.25),
    (10781, 48.0),  # "latest, about iter 230 to 540"
    (11091, 48.0),
]


def between(points):
    """A course that goes straight from point to point."""

    def course(step):
        for (left, low), (right, high) in itertools.pairwise(points):
            if left <= step <= right:
                return low + (high - low) * (step - left) / (right - left)
        return points[-1][1]

    return course


def courses():
    found = {"loss": between(TOTAL), "grad_norm": lambda step: 50.0 + (step // 10) % 11}
    for frame in range(3):
        for layer in range(6):
            for name, (first, last) in TRACK.items():
                found[f"track.frame_{frame}_{name}_{layer}"] = between([(10, first), (10000, last)])
    for name, (first, last) in MAP_LAST.items():
        found[f"map.{name}"] = between([(10, first), (10000, last)])
    return found


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "train_stage1.log"
    write_mmcv_log(
        path, epochs=6, iters_per_epoch=LENGTH, stop=(4, 540), warmup_iters=600, metrics=courses(), saves=True
    )
    return analyze(read([path]))


def test_the_progression_table_has_the_users_points(analysis):
    assert [(milestone.label, round(milestone.value, 2)) for milestone in analysis.progression] == [
        ("Epoch 1, iter 10 (start)", 105.67),
        ("Epoch 1, iter 100", 81.68),
        ("Epoch 1, iter 610 (lr warmup done)", 66.16),
        ("Epoch 1, iter 3510 (end)", 55.46),
        ("Epoch 2, iter 10", 56.70),
        ("Epoch 3, iter 10", 53.25),
        ("Epoch 4, iter 10", 48.31),
        ("Epoch 4, iter 540 (latest)", 48.0),
    ]


def test_the_verdict_is_the_users_first_observation(analysis):
    assert analysis.verdict.kind == "healthy"
    assert analysis.verdict.reason == (
        "Healthy convergence: the total loss dropped from ~106 to ~48, a ~55% reduction."
    )


def test_progress_is_epoch_4_of_6(analysis):
    came = analysis.progress
    assert (came.epoch, came.iteration, came.iters_per_epoch, came.epochs) == (4, 540, 3517, 6)
    assert came.fraction == pytest.approx(11091 / 21102)
    assert not came.finished


def test_the_set_up_is_the_users(analysis):
    assert analysis.setup["gpus"] + "x " + analysis.setup["gpu"] == "8x NVIDIA A40"
    assert [analysis.setup[key] for key in ("torch", "cuda", "backend")] == ["1.12.1", "11.8", "gloo"]


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("track.*loss_cls*", "1.24 -> 0.68"),
        ("track.*loss_bbox*", "2.35 -> 0.9 "),
        ("track.*loss_past_trajs*", "remains 0.0 throughout, as expected in stage 1"),
        ("map.loss_cls", "1.21 -> 0.68"),
        ("map.loss_bbox", "1.69 -> 0.65"),
        ("map.loss_iou", "2.03 -> 1.45"),
        ("map.loss_mask_things", "1.86 -> 1.58"),
        ("map.loss_mask_stuff", "0.06 -> 0.03"),
    ],
)
def test_each_family_of_components_goes_as_the_user_saw(analysis, metric, words):
    found = [finding for finding in analysis.findings if finding.metric == metric]
    assert len(found) == 1
    assert words in found[0].message


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("grad-norm", "settled around 51-59, with no sign of explosion or vanishing"),
        ("learning-rate", "peaked at 0.0002 at epoch 1, iter 610 and is 0.0001 now, as configured"),
        ("plateau", "The descent slowed"),
        ("backend", "The gloo backend is in use"),
        ("progress", "epoch 4 of 6, iter 540/3517 (52.6% complete)"),
    ],
)
def test_the_other_observations_are_there(analysis, check, words):
    messages = [finding.message for finding in analysis.findings if finding.check == check]
    assert len(messages) == 1
    assert words in messages[0]
