"""Which trainings wait in Slurm's queue, for `trainrelay watch`."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_submitit.identity import slug
from snakemake_executor_plugin_submitit.tracked import name_of
from trainrelay.errors import SlurmError
from trainrelay.slurm import QueueRow, queue
from trainrelay.slurm.queue import Queue, job_name, why
from trainrelay.watching import StageRow, with_queued_job

JOB = QueueRow("17", "PENDING", "Priority", workdir="/data/my | project", name="train_stage1_run=uniad_")


@pytest.mark.parametrize(("run", "stage"), [("uniad", "stage1"), ("a-b.c", "x_y"), ("r" * 90, "s")])
def test_a_training_is_called_as_its_executor_calls_it(run: str, stage: str) -> None:
    """The two meet in this name and import nothing of each other."""
    job = SimpleNamespace(name=f"train_{stage}", wildcards_dict={"run": run})
    assert job_name(run, stage) == slug(name_of(job))


def test_the_legs_that_wait_for_the_one_that_runs_are_no_waiting_job(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [replace(JOB, reason="JobArrayTaskLimit"), replace(JOB, state="RUNNING")]
    rows = {str(number): row for number, row in enumerate([*others, JOB])}
    monkeypatch.setattr(queue, "queue", lambda **_: rows)
    monkeypatch.setattr(queue, "installed", lambda: True)
    assert Queue().waiting() == [JOB]


def test_slurm_is_asked_now_and_then_and_its_silence_is_no_answer() -> None:
    now_s, asked = [0.0], []

    def question() -> list[QueueRow]:
        asked.append(now_s[0])
        if len(asked) > 1:
            raise SlurmError("squeue gave no answer")
        return [JOB]

    queue = Queue(lambda: now_s[0], question)
    assert queue.waiting() == [JOB] == queue.waiting()
    now_s[0] = 16.0
    assert queue.waiting() == []
    assert asked == [0.0, 16.0]


def test_only_a_stage_that_nobody_trains_is_called_queued() -> None:
    """A job that was requeued may be listed as waiting while its former run is still followed."""
    fresh = StageRow("uniad", "stage1", "fresh", "nothing trained yet")
    row = with_queued_job(fresh, "17", "Priority")
    assert (row.state, row.reason) == (
        "queued",
        "job 17 waits in Slurm's queue (Priority); nothing trained yet",
    )
    running = replace(fresh, state="running")
    assert with_queued_job(running, "17", "Priority") is running


def test_a_wait_that_does_not_pass_comes_with_what_helps() -> None:
    assert why(JOB) == "Priority"
    held = replace(JOB, reason="JobHeldUser")
    assert why(held) == "JobHeldUser: it is held; to let it start, run: scontrol release 17"
