"""When the next job is submitted while a limit holds, and with how many legs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from snakemake_executor_plugin_submitit.asking import Asker
from snakemake_executor_plugin_submitit.command import Command
from snakemake_executor_plugin_submitit.errors import LimitError
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.slurm import Snapshot
from snakemake_executor_plugin_submitit.submission import Submission
from snakemake_executor_plugin_submitit.submitting import LimitPause, Submitter
from snakemake_executor_plugin_submitit.tracked import TrackedJob


class Limited:
    """A cluster that takes arrays of at most so many tasks."""

    interval_s = 0.0

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, list[int]()

    def submit(self, order: Submission) -> str:
        self.asked.append(order.request.legs)
        if order.request.legs > self.most:
            raise LimitError("AssocMaxSubmitJobLimit")
        return str(len(self.asked))

    def look(self, _ids: Iterable[str]) -> Snapshot:
        return Snapshot({})


def test_a_job_that_is_submitted_again_asks_for_all_of_its_legs(tmp_path: Path) -> None:
    """The limit held at that moment: other jobs have ended since."""
    cluster = Limited(3)
    submitter = Submitter(Asker(cast(Any, cluster), logging.getLogger()), tmp_path)
    info = SimpleNamespace(job=SimpleNamespace(name="x", rules=["x"], output=["y"]), external_jobid=None)
    order = Submission(
        "x", "0" * 32, "", Command("true", str(tmp_path), "", "slurm"), request_of({"slurm_legs": 8}, 1)
    )
    job = TrackedJob(cast(Any, info), order)
    submitter.submit(job)
    assert (cluster.asked, job.order.request.legs) == ([8, 4, 2], 2)
    cluster.most, job.job_id = 8, ""
    submitter.submit(job)
    assert (cluster.asked[3:], job.order.request.legs) == ([8], 8)


def test_the_pause_grows_while_a_limit_holds() -> None:
    """Twice as long each time, up to 5 min; from the start again once a job was accepted or has ended."""
    pause, now_s, pauses_s = LimitPause(), 0.0, []
    assert not pause.holds(now_s)
    for _ in range(9):
        pause.refused(now_s)
        began_s = now_s
        while pause.holds(now_s):
            now_s += 1
        pauses_s.append(now_s - began_s)
    assert pauses_s == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    pause.refused(now_s)
    pause.eased()
    assert not pause.holds(now_s)
    pause.refused(now_s)
    assert pause.holds(now_s + 4)
    assert not pause.holds(now_s + 5)
