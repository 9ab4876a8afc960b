"""A loss that stays NaN ends a training; one that comes back does not."""

from __future__ import annotations

import math

import pytest

from trainrelay.progress_lines.not_finite import LOST_AFTER_ITERATIONS, LOST_AFTER_LINES
from trainrelay.supervise.monitor import Divergence
from trainrelay.trainers import StepSeen


def said(*losses: float | None) -> str | None:
    diverging, last = Divergence(), None
    for iteration, loss in enumerate(losses, start=1):
        last = diverging.see(StepSeen(2, iteration, 9, loss, None))
    return last


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_enough_lines_in_a_row_that_are_not_finite_are_told_with_their_first_place(value: float) -> None:
    assert said(1.0, *[value] * LOST_AFTER_LINES) == (
        f"the loss was not finite on {LOST_AFTER_LINES} progress lines in a row, from epoch 2, iteration 2 on"
    )


def test_a_few_lines_are_what_a_loss_scaler_does() -> None:
    assert said(1.0, *[math.nan] * (LOST_AFTER_LINES - 1)) is None


def test_a_finite_loss_in_between_begins_the_count_again() -> None:
    assert said(*[math.nan] * (LOST_AFTER_LINES - 1), 1.0, *[math.nan] * (LOST_AFTER_LINES - 1)) is None


def test_a_trainer_that_prints_no_total_loss_is_not_judged() -> None:
    assert said(*[None] * (2 * LOST_AFTER_LINES)) is None


def test_a_gradient_norm_that_stays_nan_tells_what_a_loss_hides() -> None:
    """Losses that went through nan_to_num are 0; an infinite norm is a loss scaler's business."""

    def of(grad_norm: float) -> str | None:
        diverging, last = Divergence(), None
        for iteration in range(10, LOST_AFTER_ITERATIONS + 10, 10):
            last = diverging.see(StepSeen(1, iteration, 99, 0.0, None, grad_norm))
            assert last is None
        for iteration in range(LOST_AFTER_ITERATIONS + 10, LOST_AFTER_ITERATIONS + 20, 10):
            last = diverging.see(StepSeen(1, iteration, 99, 0.0, None, grad_norm))
        return last

    said_of_nan = of(math.nan)
    assert said_of_nan is not None
    assert said_of_nan.startswith(
        f"the gradient norm was NaN on {LOST_AFTER_ITERATIONS // 10 + 1} progress lines in a row, from epoch"
    )
    assert of(math.inf) is None
    assert of(3.0) is None


def test_one_nan_in_a_median_of_twenty_steps_is_no_divergence() -> None:
    """Nor are the steps that a loss scaler skips until its scale fits; each is printed here."""
    diverging = Divergence()
    for iteration in range(1, 21):
        assert diverging.see(StepSeen(1, iteration, 500, 1.0, None, math.nan)) is None
    assert diverging.see(StepSeen(1, 21, 500, 1.0, None, 3.0)) is None
