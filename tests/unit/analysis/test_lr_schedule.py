"""The schedules against the numbers that mmcv itself sets."""

from __future__ import annotations

import pytest

from trainrelay.analysis.checks.learning_rate import Length, schedule

LENGTH = Length(epochs=6, iters=21102, iters_per_epoch=3517)
COSINE = {
    "lr_config.policy": "CosineAnnealing",
    "lr_config.warmup": "linear",
    "lr_config.warmup_iters": 500,
    "lr_config.warmup_ratio": 1 / 3,
    "lr_config.min_lr_ratio": 1e-3,
}


def test_uniads_cosine_is_a_staircase():
    plan = schedule(COSINE, 2e-4, LENGTH)
    stairs = [f"{plan.at(epoch, epoch * 3517 + 1000):.3e}" for epoch in range(6)]
    assert stairs == ["2.000e-04", "1.866e-04", "1.501e-04", "1.001e-04", "5.015e-05", "1.358e-05"]


def test_the_warm_up_starts_at_its_ratio_and_ends_at_the_rate():
    plan = schedule(COSINE, 2e-4, LENGTH)
    assert plan.at(0, 0) == pytest.approx(2e-4 / 3)
    assert plan.at(0, 499) < 2e-4
    assert plan.at(0, 500) == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("options", "epoch", "iteration", "expected"),
    [
        ({"policy": "Fixed"}, 3, 9999, 0.1),
        ({"policy": "step", "step": [2, 4]}, 1, 5000, 0.1),
        ({"policy": "step", "step": [2, 4]}, 4, 15000, 0.001),
        ({"policy": "step", "step": 2, "gamma": 0.5}, 4, 15000, 0.025),
        ({"policy": "exp", "gamma": 0.9}, 2, 8000, 0.081),
        ({"policy": "poly", "power": 1.0, "by_epoch": False}, 0, 10551, 0.05),
        (
            {"policy": "step", "step": [9], "warmup": "constant", "warmup_iters": 5, "warmup_ratio": 0.2},
            0,
            4,
            0.02,
        ),
        (
            {"policy": "step", "step": [9], "warmup": "exp", "warmup_iters": 10, "warmup_ratio": 0.01},
            0,
            5,
            0.01,
        ),
    ],
)
def test_the_other_policies_follow_mmcv(options, epoch, iteration, expected):
    config = {f"lr_config.{key}": value for key, value in options.items()}
    assert schedule(config, 0.1, LENGTH).at(epoch, iteration) == pytest.approx(expected)


@pytest.mark.parametrize("config", [{}, {"lr_config.policy": "Cyclic"}])
def test_an_unknown_policy_is_not_guessed(config):
    assert schedule(config, 0.1, LENGTH) is None
