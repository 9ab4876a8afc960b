"""Attempts in vain are counted over requeues and fresh submissions of one call of Snakemake."""

from __future__ import annotations

from typing import Any

import pytest

from support.attempts import an_attempt
from trainrelay.records import STOPPED, AttemptRecord, EndClass, ResumePoint, StepPoint
from trainrelay.supervise.decide import out_of_attempts, past_attempts

LADDER = ("nccl", "gloo")


def attempt(number: int, resumed_epoch: int, launch: str | None = "a", **fields: Any) -> AttemptRecord:
    return an_attempt(number, resumed_epoch, **{"launch": launch, "end": "time-limit", **fields})


def test_only_the_newest_attempts_of_the_same_launch_count() -> None:
    """What a person's earlier call tried does not."""
    attempts = [attempt(1, 0, "a"), attempt(2, 0, "b"), attempt(3, 0, "a"), attempt(4, 0, "a")]
    assert len(past_attempts(attempts, "a", (0, 0), LADDER)) == 2
    assert past_attempts(attempts, "b", (0, 0), LADDER) == []
    assert past_attempts([attempt(1, 0, None)], None, (0, 0), LADDER) == []


def test_an_attempt_brought_a_checkpoint_where_the_next_one_resumed_later_than_it() -> None:
    attempts = [attempt(1, 0), attempt(2, 2), attempt(3, 2), attempt(4, 3)]
    assert [one.new_checkpoint for one in past_attempts(attempts, "a", (3, 0), LADDER)] == [
        True,
        False,
        True,
        False,
    ]
    assert past_attempts(attempts, "a", (4, 0), LADDER)[-1].new_checkpoint


def test_iterations_are_compared_with_iterations() -> None:
    attempts = [an_attempt(n, 0, launch="a", end="time-limit", iters=5000) for n in (1, 2)]
    point = ResumePoint(path="a.pt", epoch=None, iteration=1000)
    attempts[1] = attempts[1].model_copy(update={"resumed_from": point})
    found = [one.new_checkpoint for one in past_attempts(attempts, "a", (1000, 0), LADDER)]
    assert found == [True, False]
    step = StepPoint(path="steps/1", step=1300, epoch=0, iteration=1300)
    attempts[1] = attempts[1].model_copy(update={"resumed_step": step})
    assert not past_attempts(attempts, "a", (1300, 0), LADDER)[-1].new_checkpoint
    assert past_attempts(attempts, "a", (1301, 0), LADDER)[-1].new_checkpoint


def test_an_attempt_whose_end_nobody_saw_and_a_rung_that_is_gone_are_taken_for_lost_on_the_first_rung() -> (
    None
):
    (one,) = past_attempts([attempt(1, 0, end=None, backend="old")], "a", (0, 0), LADDER)
    assert (one.end, one.rung) == ("lost", "nccl")


@pytest.mark.parametrize("end", sorted(STOPPED))
def test_jobs_in_a_row_without_a_new_checkpoint_end_it_and_one_with_a_new_one_does_not(end: EndClass) -> None:
    """Also where each of them was stopped by Slurm: otherwise a short time limit would go on for ever."""
    attempts = [attempt(number, 0, end=end) for number in (1, 2, 3)]
    assert out_of_attempts(past_attempts(attempts, "a", (0, 0), LADDER), 3) is not None
    assert out_of_attempts(past_attempts(attempts, "a", (1, 0), LADDER), 3) is None
    assert out_of_attempts(past_attempts(attempts[:2], "a", (0, 0), LADDER), 3) is None
    assert out_of_attempts([], 3) is None


def test_a_time_limit_that_brings_no_checkpoint_names_the_key_that_sets_it() -> None:
    final = out_of_attempts(
        past_attempts([attempt(number, 0) for number in (1, 2, 3)], "a", (0, 0), LADDER), 3
    )
    assert final is not None
    assert "runtime_min" in final.what_to_do
