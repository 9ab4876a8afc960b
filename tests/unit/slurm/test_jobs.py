"""A user's jobs, from the lines of squeue."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.slurm.ask import live_jobs, node_lost, shown_job, states_of

pytestmark = pytest.mark.process

QUEUE = """\
11|RUNNING|None|n1|trainrelay-controller/a
9|PENDING|BeginTime||trainrelay-controller/a
10|COMPLETED|None|n1|trainrelay-controller/a
12|RUNNING|None|n2|trainrelay-controller/b
13|RUNNING|None|n2|a comment of a person
14_1|RUNNING|None|n2|trainrelay-controller/a
15|LAUNCH_FAILED|None|n2|trainrelay-controller/a
rubbish
"""


def test_the_users_live_jobs_are_found_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue").write_text(QUEUE.replace("|", "\x1f").replace("\n", "\x1f" * 8 + "\n"))
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ncat '{tmp_path}/queue'\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = [(job.job_id, job.state, job.reason, job.nodes) for job in live_jobs()]
    assert found == [
        ("9", "PENDING", "BeginTime", ""),
        *((number, "RUNNING", "None", node) for number, node in [("11", "n1"), ("12", "n2"), ("13", "n2")]),
    ]


def test_the_last_task_of_an_array_is_shown_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is that of the array, of which scontrol shows every task."""
    said = "JobId=3 ArrayJobId=2 ArrayTaskId=1 JobState=TIMEOUT\nJobId=2 ArrayJobId=2 JobState=RUNNING\n"
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\nprintf '{said}'\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert shown_job("2", 9.0)["JobState"] == "RUNNING"
    assert shown_job("4", 9.0) == {}


def test_a_run_that_was_lost_with_its_node_is_told_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the accounting's row of that run; without one it is not known."""
    (tmp_path / "sacct").write_text("#!/bin/sh\nprintf 'NODE_FAIL|n1\\nREQUEUED|n2\\nRUNNING|n3\\n'\n")
    (tmp_path / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert [node_lost("7", nodes, 5.0) for nodes in ("n1", "n2", "n3", "n")] == [True, False, False, False]
    (tmp_path / "sacct").unlink()
    assert not node_lost("7", "n1", 5.0)


def test_where_nobody_answers_no_state_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert states_of("7", 1.0) == set()
