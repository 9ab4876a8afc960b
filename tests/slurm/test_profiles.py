"""The two other profiles for Slurm with the driving demo: a chain in one job, and the official executor."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from slurm.demo_runs import POLL, on_eight_gpus, said, started
from slurm.rig import Rig, wait_for
from slurm.wrapped import wrap
from support.processes import ranks_of
from support.project import REPOSITORY, Project

pytestmark = pytest.mark.slow

CHAIN = ("--profile", "profiles/slurm-chain", *POLL)
# A virtual environment of its own: every Snakemake loads each executor that is installed beside it.
OFFICIAL = REPOSITORY / ".venv-slurm-native/bin/python"
NATIVE = ("--profile", "profiles/slurm-native", "--retries", "0")


@pytest.fixture
def project(project: Project) -> Project:
    project.configure(on_eight_gpus)
    return project


def jobs_of(rig: Rig, project: Project) -> list[dict[str, str]]:
    """The project's jobs in accounting, oldest first, once Slurm has noted their ends."""

    def found() -> list[dict[str, str]]:
        rows = rig.sacct(None, "JobID,State,AllocTRES,WorkDir", "--allocations")
        return [row for row in rows if row["WorkDir"] == str(project.folder)]

    wait_for(lambda: all(row["State"] != "RUNNING" for row in found()), "the end of every job")
    return found()


def with_eight(rows: list[dict[str, str]]) -> int:
    return sum("gres/gpu:a40=8" in row["AllocTRES"] for row in rows)


@pytest.mark.long
def test_a_chain_of_trainings_is_one_job_and_a_requeue_repeats_no_complete_stage(
    clean_rig: Rig, project: Project
) -> None:
    """Both trainings and the handing on between them, in one allocation of eight GPUs."""
    running = started(project, profile=CHAIN)
    wait_for((project.stage("stage2") / "attempts/001/trainer.log").exists, "the second stage to train")
    (job,) = [row["JobID"] for row in clean_rig.squeue(fields="JobID,State") if row["State"] == "RUNNING"]
    clean_rig.scontrol("requeue", job)
    assert running.wait() == 0, said(project)
    rows = jobs_of(clean_rig, project)
    assert [(row["JobID"], row["State"]) for row in rows] == [(job, "COMPLETED")]
    assert with_eight(rows) == 1
    assert project.attempts() == {"stage1": 1, "stage2": 2}
    assert (project.folder / "runs/driving/report.html").exists()
    assert ranks_of(project) == []


def test_a_run_that_forks_is_refused_as_a_chain(clean_rig: Rig, project: Project) -> None:
    """Two stages from one would train on the same GPUs at once: nothing is submitted."""
    project.configure(_fork)
    members = [f"{rule}=chain" for rule in ("train_stage1", "promote_stage1", "train_stage2", "train_stage3")]
    refused = project.run("snakemake", *CHAIN, "--groups", *members)
    assert refused.returncode != 0
    assert "driving/stage2 and driving/stage3 would train at once in one job" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert jobs_of(clean_rig, project) == []


def test_a_chain_above_the_limit_of_its_partition_is_refused(clean_rig: Rig, project: Project) -> None:
    """Each training is below it: Slurm would take the job, and let it wait for good."""
    clean_rig.scontrol("update", "PartitionName=gpu", "MaxTime=20")
    try:
        refused = project.run("snakemake", *CHAIN)
    finally:
        clean_rig.scontrol("update", "PartitionName=gpu", "MaxTime=INFINITE")
    assert refused.returncode != 0
    chain = (
        "driving/stage1, driving/stage2: as one job they would ask for 30 min, partition gpu allows 20 min"
    )
    assert f"{chain}, so it would never start: use --profile slurm" in refused.stderr
    assert jobs_of(clean_rig, project) == []


def _fork(data: dict[str, Any]) -> None:
    stages = data["runs"]["driving"]["stages"]
    stages["stage3"] = {**deepcopy(stages["stage2"]), "work_dir": "work_dirs/other"}


@pytest.mark.skipif(
    not OFFICIAL.exists(),
    reason="the official executor is not installed; type: scripts/setup.sh slurm-native",
)
@pytest.mark.long
def test_the_official_executor_trains_both_stages(
    clean_rig: Rig, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With eight GPUs each, and none for a complete stage that is triggered again."""
    path = clean_rig.environment()["PATH"]
    # It starts srun in its jobs without SLURM_CONF: on a cluster the file lies where srun looks for it.
    mended = wrap(tmp_path / "commands", "srun", f"export SLURM_CONF='{clean_rig.conf}'", path)
    monkeypatch.setenv("PATH", mended)
    project.configure(_trained_by_this_python)
    official(project, *NATIVE)
    rows = jobs_of(clean_rig, project)
    assert [row["State"] for row in rows] == ["COMPLETED", "COMPLETED"]
    assert with_eight(rows) == 2
    record = json.loads((project.stage("stage2") / "train.json").read_text())
    assert record["final_checkpoint"]["epoch"] == 2
    official(project, *NATIVE, "--until", "train_stage2", "--forcerun", "promote_stage1")
    assert with_eight(jobs_of(clean_rig, project)) == 2
    assert project.attempts() == {"stage1": 1, "stage2": 1}


def official(project: Project, *arguments: str) -> None:
    done = subprocess.run(
        [str(OFFICIAL), "-m", "snakemake", *arguments],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _trained_by_this_python(data: dict[str, Any]) -> None:
    data["runs"]["driving"]["trainer"]["interpreter"] = sys.executable
