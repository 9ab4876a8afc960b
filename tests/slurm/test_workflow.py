"""The whole workflow on a real Slurm: the driving demo's two stages, each a job with eight A40s."""

from __future__ import annotations

import json
import signal

import pytest

from slurm.demo_runs import PROFILE, on_eight_gpus, said, started
from slurm.rig import Rig, wait_for
from support.processes import ranks_of
from support.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(project: Project) -> Project:
    project.configure(on_eight_gpus)
    return project


def trainings(rig: Rig) -> list[dict[str, str]]:
    """The jobs of Slurm's accounting that are trainings, oldest first."""
    jobs = rig.sacct(None, "JobID,JobName,State,AllocTRES", "--allocations")
    return [job for job in jobs if job["JobName"].startswith("train")]


def test_two_stages_train_as_jobs_with_eight_gpus_each_and_all_else_runs_here(
    clean_rig: Rig, project: Project
) -> None:
    before = len(trainings(clean_rig))
    assert started(project).wait() == 0, said(project)
    jobs = trainings(clean_rig)[before:]
    assert [job["State"] for job in jobs] == ["COMPLETED", "COMPLETED"]
    assert all("gres/gpu:a40=8" in job["AllocTRES"] for job in jobs)
    assert (project.folder / "runs/driving/report.html").exists()
    record = json.loads((project.stage("stage2") / "attempts/001/attempt.json").read_text())
    assert record["end"] == "done"
    # A complete stage that is triggered again queues for nothing.
    again = project.run("snakemake", *PROFILE, "--forcerun", "promote_stage1")
    assert again.returncode == 0, again.stderr
    later = trainings(clean_rig)[before + 2 :]
    assert not [job for job in later if "gres/gpu" in job["AllocTRES"]]


@pytest.mark.long
def test_a_controller_that_was_killed_finds_its_training_again(clean_rig: Rig, project: Project) -> None:
    before = len(trainings(clean_rig))
    first = started(project)
    wait_for((project.stage("stage1") / "work_dir/epoch_1.pth").exists, "the first epoch")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert project.run("snakemake", "--unlock").returncode == 0
    assert started(project).wait() == 0, said(project)
    assert "found alive; following it" in said(project)
    assert len(trainings(clean_rig)) == before + 2
    assert project.attempts() == {"stage1": 1, "stage2": 1}


@pytest.mark.long
def test_a_requeued_training_resumes_under_its_job_id(clean_rig: Rig, project: Project) -> None:
    before = len(trainings(clean_rig))
    running = started(project)
    wait_for((project.stage("stage1") / "work_dir/epoch_1.pth").exists, "the first epoch")
    (job,) = clean_rig.live()
    clean_rig.scontrol("requeue", job)
    assert running.wait() == 0, said(project)
    assert len(trainings(clean_rig)) == before + 2
    second = json.loads((project.stage("stage1") / "attempts/002/attempt.json").read_text())
    assert second["resumed_from"]["epoch"] >= 1
    assert ranks_of(project) == []
    legs = json.loads((project.stage("stage1") / "train.json").read_text())["legs"]
    assert [(leg["slurm"]["job_id"], leg["slurm"]["restarts"]) for leg in legs] == [(job, 0), (job, 1)]
    assert [leg["attempts"] for leg in legs] == [[1], [2]]
    assert second["launch"]


@pytest.mark.long
def test_ctrl_c_ends_the_training_and_leaves_no_job(clean_rig: Rig, project: Project) -> None:
    running = started(project)
    wait_for((project.stage("stage1") / "work_dir/epoch_1.pth").exists, "the first epoch")
    running.send_signal(signal.SIGINT)
    assert running.wait() != 0
    wait_for(lambda: not clean_rig.live(), "the end of every job")
    assert ranks_of(project) == []
    first = json.loads((project.stage("stage1") / "attempts/001/attempt.json").read_text())
    assert first["end"] == "interrupted"
    assert project.scheduled()["driving/stage1"].startswith(
        ("resumes in epoch", "resumes at the end of epoch")
    )
