"""A user's jobs, from the lines of squeue."""

from __future__ import annotations

from trainrelay.slurm.jobs import Job, read_jobs, read_own

QUEUE = (
    "11|RUNNING|None|n1|trainrelay-controller/a\n"
    "9|PENDING|BeginTime||trainrelay-controller/a\n"
    "10|COMPLETED|None|n1|trainrelay-controller/a\n"
    "12|RUNNING|None|n2|trainrelay-controller/b\n"
    "13|RUNNING|None|n2|a | comment of a person\n"
    "14_1|RUNNING|None|n2|trainrelay-controller/a\n"
    "rubbish\n"
)


def test_live_jobs_with_the_comment_are_found_the_oldest_first() -> None:
    assert read_jobs(QUEUE, "trainrelay-controller/a") == [
        Job("9", "PENDING", "BeginTime", ""),
        Job("11", "RUNNING", "None", "n1"),
    ]


def test_ones_own_job_is_read_with_its_restarts() -> None:
    said = f"{'20':<20}{'COMPLETING':<30}{'1':<12}{'None':<40}\n"
    assert read_own(said) == Job("20", "COMPLETING", "None", restarts=1)
    assert read_own("slurm_load_jobs error\n") is None
    assert read_own("") is None
