"""What happened to a training, as places on its curves, and when its steps were done."""

from __future__ import annotations

import dataclasses

import pytest

from support import sample_report
from support.sample_report import ITERS_PER_EPOCH, ResumePoint
from trainrelay.report import marks


def happened(stage: sample_report.StageReport) -> list[tuple[str, int, int | None]]:
    return [(mark.kind, mark.step, mark.until) for mark in marks.of(stage)]


def test_a_restart_what_it_redid_and_a_change_of_the_backend_are_where_it_resumed() -> None:
    at = 4 * ITERS_PER_EPOCH
    assert happened(sample_report.stage2()) == [
        ("redone", at, at + 1240),
        ("restart", at, None),
        ("backend", at, None),
    ]


def test_a_start_from_zero_redoes_all_and_is_no_restart_from_a_checkpoint() -> None:
    first, second = sample_report.stage2().attempts
    again = second.model_copy(update={"resumed_from": None, "backend": "nccl"})
    stage = dataclasses.replace(sample_report.stage2(), attempts=(first, again))
    assert happened(stage) == [("redone", 0, 4 * ITERS_PER_EPOCH + 1240)]


def test_the_first_attempt_that_is_left_may_have_resumed_too() -> None:
    stage = sample_report.keypoint_stage("running", sample_report.epochs_only_analysis())
    point = ResumePoint(path="checkpoint.pth", epoch=2, iteration=240)
    resumed = stage.attempts[0].model_copy(update={"resumed_from": point})
    assert happened(dataclasses.replace(stage, attempts=(resumed,))) == [("restart", 2, None)]


def with_rate(*values: float) -> sample_report.StageReport:
    stage = sample_report.stage1()
    assert stage.analysis is not None
    curves = {"train": {"lr": [(10 * at, value) for at, value in enumerate(values, 1)]}}
    return dataclasses.replace(stage, analysis=dataclasses.replace(stage.analysis, curves=curves))


@pytest.mark.parametrize(
    ("values", "drops"),
    [
        ((1e-4, 1e-4, 1e-5, 1e-5, 1e-6), [30, 50]),
        ((1e-6, 1e-5, 1e-4, 1e-4), []),  # warm-up
        ((1e-4, 8e-5, 5e-5, 2e-5, 1e-6, 0.0), []),  # falls at each step
        ((1e-4, 1e-4, 9e-5, 9e-5, 5e-5, 5e-5, 2e-5, 2e-5), []),  # a cosine by epochs
        ((1e-4, 1e-4, float("nan"), 1e-5), []),
        ((1e-4, 1e-4, 9e-5, 9e-5), []),
    ],
)
def test_a_learning_rate_drops_where_it_falls_at_once_and_nowhere_else_falls(
    values: tuple[float, ...], drops: list[int]
) -> None:
    assert happened(with_rate(*values)) == [("rate", step, None) for step in drops]


def test_the_clock_of_each_attempt_is_its_own_and_that_of_one_that_runs_its_pace() -> None:
    stage = sample_report.stage2()
    (start, begun, end, ended), (at, again, now, until) = marks.clock(stage)
    assert (start, end) == (0, 4 * ITERS_PER_EPOCH + 1240)
    assert (begun, ended) == (0.0, pytest.approx(21.7))
    assert (at, again) == (4 * ITERS_PER_EPOCH, pytest.approx(21.8))
    assert stage.analysis is not None
    assert now == stage.analysis.iterations
    pace_s = stage.analysis.metrics["train"]["time"].last
    assert until - again == pytest.approx((now - at) * pace_s / 3600)
