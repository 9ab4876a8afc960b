"""The whole workflow on a real Slurm: the driving demo's two stages, each a job with eight A40s."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurm.rig import Rig, wait_for
from slurm.rig.rig import ENDED
from support.processes import ranks_of
from support.project import Project, make_project

pytestmark = pytest.mark.slow

PROFILE = ["--profile", "profiles/slurm", "--submitit-poll-interval-s", "2"]


def on_eight_gpus(data: dict[str, Any]) -> None:
    """The demo trains on the CPU; its jobs get the rig's GPUs all the same."""
    for stage in data["runs"]["driving"]["stages"].values():
        stage["resources"] = {"gpu": 8, "gpu_model": "a40", "runtime_min": 15}


@pytest.fixture
def project(clean_rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name, value in clean_rig.environment().items():
        monkeypatch.setenv(name, value)
    project = make_project(tmp_path / "my project")
    project.configure(on_eight_gpus)
    yield project
    clean_rig.heal()


def trainings(rig: Rig) -> list[dict[str, str]]:
    """The jobs of Slurm's accounting that are trainings, oldest first."""
    jobs = rig.sacct(None, "JobID,JobName,State,AllocTRES", "--allocations")
    return [job for job in jobs if job["JobName"].startswith("train")]


def live(rig: Rig) -> list[str]:
    """The jobs that have not ended."""
    return [job["JobID"] for job in rig.squeue(fields="JobID,State") if job["State"] not in ENDED]


def started(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *PROFILE],
        cwd=project.folder,
        stdout=(project.folder / "snakemake.log").open("a"),
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def said(project: Project) -> str:
    return (project.folder / "snakemake.log").read_text()


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
    (job,) = live(clean_rig)
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
    wait_for(lambda: not live(clean_rig), "the end of every job")
    assert ranks_of(project) == []
    first = json.loads((project.stage("stage1") / "attempts/001/attempt.json").read_text())
    assert first["end"] == "interrupted"
    assert project.scheduled()["driving/stage1"].startswith("resumes after epoch")
