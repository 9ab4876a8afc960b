"""What a training still costs, from what its attempts measured."""

from __future__ import annotations

from typing import Any

import pytest

from trainrelay.records import AttemptRecord, Place, ResumePoint
from trainrelay.training.cost import Price, iterations_trained, legs, price


def attempt(**changes: Any) -> AttemptRecord:
    fields: dict[str, Any] = {
        "number": 1,
        "tag": "t",
        "host": "h",
        "supervisor_pid": 1,
        "place": Place(host="h"),
        "supervisor_ticks": 1,
        "argv": [],
        "env": {},
        "cwd": "/",
        "log": "l",
        "backend": "gloo",
        "world_size": 8,
        "epochs": 6,
        "resumed_from": None,
        "started_s": 1000.0,
        "ended_s": 1000.0 + 2 * 3517,
        "last_epoch": 1,
        "last_iteration": 3517,
        "iters_per_epoch": 3517,
    }
    return AttemptRecord(**{**fields, **changes})


def test_the_rest_of_a_training_costs_what_its_iterations_took() -> None:
    left = price([attempt()], 5, 8)
    assert left is not None
    assert left.s_per_iter == pytest.approx(2.0)
    assert left.gpu_h == pytest.approx(5 * 3517 * 2.0 * 8 / 3600)


def test_an_attempt_counts_from_where_it_resumed() -> None:
    resumed = attempt(resumed_from=ResumePoint(path="p", epoch=2), last_epoch=3, last_iteration=100)
    assert iterations_trained(resumed) == 100


def test_nothing_is_guessed_where_nothing_was_measured() -> None:
    assert price([], 6, 8) is None
    assert price([attempt(last_epoch=None, last_iteration=None)], 6, 8) is None
    assert price([attempt(ended_s=None)], 6, 8) is None


def test_the_start_of_an_attempt_is_no_part_of_its_pace() -> None:
    short = attempt(last_iteration=10, ended_s=1000.0 + 600, s_per_iter=2.0)
    left = price([short], 6, 8)
    assert left is not None
    assert left.s_per_iter == pytest.approx(2.0)
    assert price([attempt(last_iteration=10, ended_s=1000.0 + 600)], 6, 8) is None


def test_the_newest_measured_attempt_counts() -> None:
    slower = attempt(number=2, ended_s=1000.0 + 4 * 3517)
    died_at_once = attempt(number=3, last_epoch=None)
    left = price([attempt(), slower, died_at_once], 1, 1)
    assert left is not None
    assert left.s_per_iter == pytest.approx(4.0)


def test_what_trained_for_less_than_half_an_epoch_does_not_tell_it() -> None:
    """Its start-up would count as steps; an older attempt that trained longer does tell."""
    short = attempt(number=2, last_iteration=1700, ended_s=1000.0 + 9 * 3517)
    assert price([short], 1, 1) is None
    assert price([attempt(), short], 1, 1) == Price(1, 3517, 2.0, 1)


@pytest.mark.parametrize(("epochs", "jobs"), [(1, 1), (10, 1), (11, 3), (20, 3), (21, 4), (1000, 10)])
def test_as_many_jobs_are_queued_as_the_pace_asks_for_and_one_more(epochs: int, jobs: int) -> None:
    """A minute per epoch, jobs of ten; what one job can finish is one job."""
    assert legs(Price(epochs, 60, 1.0, 8), 10) == jobs


def test_of_an_unknown_pace_or_limit_as_many_jobs_are_queued_as_ever() -> None:
    assert legs(None, 10) == legs(Price(1, 60, 1.0, 8), None) == 10
