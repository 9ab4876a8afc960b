"""`trainrelay submit` on a real Slurm: the controller is a job itself, and its end is not the trainings'."""

from __future__ import annotations

import json
import re
import subprocess
from copy import deepcopy
from typing import Any

import pytest

from slurm.demo_runs import PROFILE, on_eight_gpus
from slurm.rig import Rig, wait_for
from slurm.rig.rig import ENDED
from support.processes import ranks_of
from support.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]

STAGE1 = ["--until", "train_stage1"]


def long_stage1(data: dict[str, Any]) -> None:
    """A training that still runs when its controller comes back."""
    data["runs"]["driving"]["stages"]["stage1"]["epochs"] = 5


@pytest.fixture
def project(project: Project) -> Project:
    project = Project(project.folder.rename(project.folder.with_name("my projéct")))
    project.configure(on_eight_gpus)
    return project


def submit(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.trainrelay("submit", "--", *PROFILE, *arguments)


def submitted(project: Project, *arguments: str) -> str:
    """The id of the controller's job."""
    done = submit(project, *arguments)
    assert done.returncode == 0, done.stderr
    found = re.match(r"job (\d+) runs the workflow", done.stdout)
    assert found, done.stdout
    return found[1]


def said(project: Project, job_id: str) -> str:
    return (project.folder / f"runs/controller-{job_id}.log").read_text()


def state(rig: Rig, job_id: str) -> str:
    return rig.state(int(job_id))


def ended(rig: Rig, project: Project, job_id: str) -> str:
    """The controller's last state."""
    wait_for(lambda: state(rig, job_id) in ENDED, "the end of the controller", 240)
    return state(rig, job_id)


def trainings(rig: Rig, since: int) -> list[dict[str, str]]:
    """The jobs of Slurm's accounting that are trainings, oldest first."""
    jobs = rig.sacct(None, "JobID,JobName,State,AllocTRES", "--allocations")
    return [job for job in jobs if job["JobName"].startswith("train_") and int(job["JobID"]) > since]


def first_epoch(project: Project) -> None:
    wait_for((project.stage("stage1") / "work_dir/epoch_1.pth").exists, "the first epoch", 120)


def test_the_whole_workflow_runs_from_a_job_that_goes_on_past_its_limit(
    clean_rig: Rig, project: Project
) -> None:
    project.configure(long_stage1)
    controller = submitted(project)
    again = submit(project)
    assert again.returncode == 2
    assert re.search(rf"job {controller} (runs|waits to run) the workflow of this folder", again.stderr)
    first_epoch(project)
    # Its next run reads what was submitted.
    (project.folder / "config.yaml").write_text("runs: {half")
    # As Slurm warns before the limit: the batch script alone.
    clean_rig.scancel("--signal=USR2", "--batch", controller)
    assert ended(clean_rig, project, controller) == "COMPLETED", said(project, controller)
    assert "requeued, the trainings keep running" in said(project, controller)
    assert "found alive; following it" in said(project, controller)
    jobs = trainings(clean_rig, int(controller))
    assert [job["State"] for job in jobs] == ["COMPLETED", "COMPLETED"]
    assert all("gres/gpu:a40=8" in job["AllocTRES"] for job in jobs)
    assert project.attempts() == {"stage1": 1, "stage2": 1}
    assert (project.folder / "runs/driving/report.html").exists()


def test_a_controller_that_a_person_requeues_finds_its_training_again(
    clean_rig: Rig, project: Project
) -> None:
    project.configure(long_stage1)
    controller = submitted(project, *STAGE1)
    first_epoch(project)
    clean_rig.scontrol("requeue", controller)
    assert ended(clean_rig, project, controller) == "COMPLETED", said(project, controller)
    assert "found alive; following it" in said(project, controller)
    assert len(trainings(clean_rig, int(controller))) == 1
    assert project.attempts() == {"stage1": 1}


def test_a_cancelled_controller_ends_its_training_and_the_next_one_goes_on(
    clean_rig: Rig, project: Project
) -> None:
    controller = submitted(project, *STAGE1)
    first_epoch(project)
    clean_rig.scancel(controller)
    wait_for(lambda: not clean_rig.live(), "the end of every job", 120)
    assert ranks_of(project) == []
    attempt = json.loads((project.stage("stage1") / "attempts/001/attempt.json").read_text())
    assert attempt["end"] == "interrupted"
    second = submitted(project, *STAGE1)
    assert ended(clean_rig, project, second) == "COMPLETED", said(project, second)
    assert project.attempts() == {"stage1": 2}


def test_a_controller_is_found_where_the_site_rewrites_comments(clean_rig: Rig, project: Project) -> None:
    """Its script tells it: a second one would take away the first one's lock and train beside it."""
    with clean_rig.site_lua('job.comment = "site:checked"', "do return slurm.ERROR end"):
        controller = submitted(project)
        wait_for(lambda: list((project.folder / ".snakemake/locks").glob("*")), "Snakemake's lock", 120)
        assert clean_rig.squeue(int(controller), "Comment")[0]["Comment"] == "site:checked"
        again = submit(project)
    assert again.returncode == 2, again.stdout
    assert f"job {controller} runs the workflow of this folder already" in again.stderr


def another_run(data: dict[str, Any]) -> None:
    """It asks for a partition that is closed."""
    run = data["runs"]["waits"] = deepcopy(data["runs"]["driving"])
    run["stages"] = {"stage1": run["stages"]["stage1"]}
    run["stages"]["stage1"]["resources"]["partition"] = "nograce"
    del run["stages"]["stage1"]["promotion"]


def test_a_cancelled_controller_ends_jobs_that_wait_too(clean_rig: Rig, project: Project) -> None:
    """Slurm lets it live for KillWait: what waits is cancelled and what runs is warned at once."""
    project.configure(another_run)
    clean_rig.scontrol("update", "PartitionName=nograce", "State=DOWN")
    try:
        controller = submitted(project, *STAGE1)
        first_epoch(project)
        wait_for(lambda: len(clean_rig.live()) == 3, "the job that waits")
        clean_rig.scancel(controller)
        wait_for(lambda: not clean_rig.live(), "the end of every job", 120)
    finally:
        clean_rig.scontrol("update", "PartitionName=nograce", "State=UP")
    assert ranks_of(project) == []
    attempt = json.loads((project.stage("stage1") / "attempts/001/attempt.json").read_text())
    assert attempt["end"] == "interrupted"
    assert "may not have ended" not in said(project, controller)
