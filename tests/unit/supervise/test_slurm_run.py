"""Which run of a Slurm job a supervisor is inside, and what Slurm has against that job."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.records import SlurmRun
from trainrelay.slurm.ask import records
from trainrelay.supervise.attempt import wait_for_step_s
from trainrelay.supervise.slurm_run import SlurmStop, here, why_stopped
from trainrelay.supervise.slurm_run import read as read_shown

# As Slurm 22.05 prints it, shortened.
RUNNING = (
    "JobId=1 JobName=train Requeue=1 Restarts=0 JobState=RUNNING Reason=None RunTime=00:00:04 "
    "TimeLimit=365-00:00:00 PreemptEligibleTime=2026-11-23T13:31:39 PreemptTime=None Partition=gpu"
)


def read(line: str, restarts: int = 0, warn_s: int = 120) -> SlurmStop | None:
    return read_shown(records(line)[0], warn_s, restarts)


def test_a_run_is_known_by_its_job_and_how_often_that_was_requeued() -> None:
    """The number of restarts is absent in a job's first run."""
    first = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "gpu[03-04]"}
    assert here(first) == SlurmRun(job_id="17", restarts=0, nodes="gpu[03-04]")
    assert here({**first, "SLURM_RESTART_COUNT": "2"}) == SlurmRun(
        job_id="17", restarts=2, nodes="gpu[03-04]"
    )


@pytest.mark.parametrize("job", ["", "x", "1;2", "-1", "٣"])
def test_what_is_no_job_number_is_no_job(job: str) -> None:
    assert here({"SLURM_JOB_ID": job}) is None


def test_slurm_has_nothing_against_a_job_that_runs_long_before_its_limit() -> None:
    assert read(RUNNING) is None
    assert read(RUNNING.replace("365-00:00:00", "UNLIMITED")) is None


def test_a_job_that_is_preempted_with_a_grace_still_runs_and_says_so_by_the_time() -> None:
    found = read(RUNNING.replace("PreemptTime=None", "PreemptTime=2026-11-23T13:31:43"))
    assert found is not None
    assert (found.end, found.left_s) == ("preempted", 0)
    times = "StartTime=2026-11-23T13:31:39 EndTime=2026-11-23T13:32:03 PreemptTime=2026-11-23T13:31:43"
    moved = read(RUNNING.replace("PreemptTime=None", times))
    assert moved is not None
    assert moved.left_s == 20


@pytest.mark.parametrize(
    ("ran", "limit", "words"),
    [("00:58:00", "01:00:00", "120 s before"), ("1-00:00:03", "1-00:00:00", "0 s before")],
)
def test_a_stop_close_to_the_time_limit_is_laid_to_the_limit(ran: str, limit: str, words: str) -> None:
    found = read(RUNNING.replace("00:00:04", ran).replace("365-00:00:00", limit))
    assert found is not None
    assert (found.end, found.text.startswith(words)) == ("time-limit", True)


def test_how_close_that_is_follows_from_when_the_job_asked_to_be_warned() -> None:
    """A checkpoint that takes long to write has all of the time that was asked for."""
    line = RUNNING.replace("00:00:04", "00:49:30").replace("365-00:00:00", "01:00:00")
    found = read(line, warn_s=600)
    assert found is not None
    assert (found.end, found.left_s) == ("time-limit", 630)
    assert read(line, warn_s=120) is None
    # Also of more than a quarter of a limit that is the partition's, or was changed since.
    by_partition = read(line.replace("00:49:30", "00:20:00"), warn_s=2400)
    assert by_partition is not None
    assert by_partition.end == "time-limit"


def test_a_cancelled_job_was_stopped_by_a_person() -> None:
    found = read(RUNNING.replace("JobState=RUNNING", "JobState=CANCELLED"))
    assert found is not None
    assert found.end == "interrupted"


def test_a_job_that_is_queued_again_says_so_by_its_restarts() -> None:
    """By a person, or by a preemption without a time of grace: Slurm tells no difference."""
    line = RUNNING.replace("Restarts=0 JobState=RUNNING", "Restarts=1 JobState=COMPLETING")
    found = read(line, restarts=0)
    assert found is not None
    assert (found.end, found.text) == ("interrupted", "its job was requeued")
    ended = read(line, restarts=1)  # as after a scancel, while Slurm waits for its processes
    assert ended is not None
    assert (ended.end, ended.text) == ("interrupted", "Slurm ends its job")


def test_past_its_limit_a_job_has_no_time_that_is_known() -> None:
    found = read(RUNNING.replace("00:00:04", "01:00:31").replace("365-00:00:00", "01:00:00"))
    assert found is not None
    assert (found.end, found.left_s) == ("time-limit", 0)


def test_what_a_user_wrote_into_a_job_does_not_stand_for_what_slurm_says() -> None:
    """A comment and a command come after Slurm's own fields."""
    assert read(f"{RUNNING} Comment=PreemptTime=2026 JobState=CANCELLED TimeLimit=00:01") is None


@pytest.mark.process
def test_without_an_answer_a_stop_in_a_job_may_be_slurms(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So it waits no longer than the grace."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = why_stopped(SlurmRun(job_id="1", restarts=0, nodes=""), 120)
    assert found is not None
    assert (found.end, found.left_s) == ("interrupted", 0)
    assert "Slurm did not say why" in found.text
    assert wait_for_step_s(30.0, found, save_s=600.0) == 20.0
    assert why_stopped(None, 120) is None
