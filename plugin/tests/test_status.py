"""The verdict about a job, from what is seen of it over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.status import (
    ENDED,
    GONE_S,
    SETTLE_S,
    JobVerdict,
    Memory,
    Result,
    ResultEnd,
    Sighting,
    judge,
)

FORGOTTEN = ""


def last(*sightings: Sighting) -> JobVerdict:
    """The first verdict that is not `running`, else the last one."""
    memory = Memory()
    for seen in sightings:
        memory, verdict = judge(memory, seen)
        if verdict.kind != "running":
            return verdict
    return verdict


def held(state: str, accounting: str = "", times: int = 4, step_s: float = 15) -> list[Sighting]:
    """The same answers again and again."""
    return [Sighting(step_s * number, None, state, accounting) for number in range(times)]


@pytest.mark.parametrize(
    ("end", "kind"),
    [("done", "success"), ("failed", "failed"), ("interrupted", "interrupted"), ("cancelled", "interrupted")],
)
def test_the_result_file_decides_before_slurm_is_asked(end: ResultEnd, kind: str) -> None:
    """Also where Slurm still calls the job RUNNING."""
    assert last(Sighting(0, Result(end, ""))).kind == kind
    assert last(Sighting(0, Result(end, ""), "RUNNING")).kind == kind


@pytest.mark.parametrize(
    "state", ["PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUE_HOLD", "NEW_IN_25"]
)
def test_a_listed_job_runs_however_long(state: str) -> None:
    """Also in a state that nobody has heard of."""
    assert last(*held(state, times=1000)).kind == "running"


def test_squeue_that_does_not_answer_ends_nothing() -> None:
    """A day without an answer is no end."""
    assert last(*(Sighting(15.0 * number) for number in range(6000))).kind == "running"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("CANCELLED", "failed"),
        ("FAILED", "failed"),
        ("OUT_OF_MEMORY", "failed"),
        ("COMPLETED", "failed"),
        ("TIMEOUT", "interrupted"),
        ("PREEMPTED", "interrupted"),
        ("NODE_FAIL", "interrupted"),
    ],
)
def test_an_end_without_a_result_is_seen_within_two_polls(state: str, kind: str) -> None:
    """In squeue, or in sacct where squeue has forgotten the job. No end without a result is a success."""
    assert last(*held(state, times=2)).kind == kind
    assert last(*held("", state, times=2)).kind == kind


@pytest.mark.parametrize(
    ("queue", "accounting", "said"),
    [
        ("CANCELLED", "", "it was cancelled from outside (scancel)"),
        ("", "CANCELLED", "Slurm no longer knows the job, and it left no result (sacct: CANCELLED)"),
    ],
)
def test_what_is_said_of_a_cancelled_job_is_known(queue: str, accounting: str, said: str) -> None:
    """slurmctld that lost its state leaves the jobs that it had as CANCELLED in sacct."""
    assert last(*held(queue, accounting, times=2)) == JobVerdict("failed", said)


def test_an_end_that_was_seen_once_may_become_a_requeue() -> None:
    """PREEMPTED, then PENDING under the same id: the job runs."""
    seen = [Sighting(0, None, "PREEMPTED"), Sighting(15, None, "PENDING")]
    assert last(*seen, Sighting(30, None, "PREEMPTED")).kind == "running"


def test_sacct_shows_the_former_run_of_a_requeued_job() -> None:
    """squeue, which lists the waiting one, counts."""
    assert last(*held("PENDING", "NODE_FAIL", times=50)).kind == "running"


def test_a_late_result_file_still_counts() -> None:
    """COMPLETED in Slurm, the file a few seconds later on a slow file system."""
    seen = Sighting(0, None, "COMPLETED")
    assert last(seen, Sighting(SETTLE_S - 1, Result("done", ""), None)).kind == "success"


def test_a_scancel_of_a_job_that_ran_is_seen_at_once() -> None:
    assert last(Sighting(0, None, "CANCELLED", ran=True)).kind == "failed"


def test_a_late_result_counts_where_the_rest_was_cancelled() -> None:
    """A leg that is done cancels those that wait before its result is written."""
    seen = Sighting(0, None, "CANCELLED")
    assert last(seen, Sighting(SETTLE_S - 1, Result("done", ""), None)).kind == "success"


def test_a_job_that_nobody_knows_is_gone_and_no_success() -> None:
    """Not at once, and not for ever."""
    patient = int(GONE_S / 15)
    assert last(*held("", "", times=patient)).kind == "running"
    assert last(*held("", "", times=patient + 2)).kind == "failed"
    assert last(*held("", times=patient + 2)).kind == "failed", "a cluster without accounting"
    assert last(*held("", "RUNNING", times=patient + 2)).kind == "failed", "accounting that never noticed"


def test_absence_counts_in_answers_too() -> None:
    """A controller that was stopped for an hour has not been told anything in that hour."""
    seen = [Sighting(0, None, FORGOTTEN), Sighting(3600, None, FORGOTTEN)]
    assert last(*seen).kind == "running"


def test_a_job_that_an_earlier_controller_stopped_is_submitted_again() -> None:
    """Its cancel file tells it from a scancel by somebody else."""
    assert last(Sighting(0, None, "CANCELLED", cancel_asked=True)).kind == "interrupted"


states = st.sampled_from(["", "PENDING", "RUNNING", "COMPLETING", "UNKNOWN", *sorted(ENDED)])


@given(
    st.lists(
        st.tuples(st.none() | states, states, st.floats(0.1, 300), st.integers(1, 4)), min_size=1, max_size=20
    )
)
def test_nothing_that_slurm_says_is_a_success(
    answered: list[tuple[str | None, str, float, int]],
) -> None:
    """Only the job's own result is, however often the same is said."""
    memory, now_s = Memory(), 0.0
    for queue, accounting, step_s, times in answered:
        for _ in range(times):
            now_s += step_s
            memory, verdict = judge(memory, Sighting(now_s, None, queue, accounting))
            assert verdict.kind != "success"
