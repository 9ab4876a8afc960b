"""A job that waits trains what was submitted, or says in the controller's own words why it does not."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest

from slurm.demo_runs import on_eight_gpus, said, started
from slurm.rig import Rig, wait_for
from support.project import Project

pytestmark = pytest.mark.slow

CHANGED = r"config: optimizer.lr: \S+ -> 0.5"
RATE = re.compile(r"lr=[^,]+,")
TRAINER_CONFIG = "workflow/demo/driving/projects/configs/stage1_track_map/track_map.py"


@pytest.fixture
def project(project: Project) -> Project:
    project.configure(on_eight_gpus)
    return project


def message(project: Project) -> str:
    """What the controller of a job that waits and is let go says of its end."""
    return " ".join(re.findall(r"message: .*", said(project)))


class Queue:
    """The GPUs are taken until it is left."""

    def __init__(self, rig: Rig, project: Project) -> None:
        self._rig, self._project = rig, project

    def __enter__(self) -> None:
        self._holder = self._rig.sbatch("--gres=gpu:a40:8", "--output=/dev/null", "--wrap=sleep 600")
        self.controller = started(self._project)
        wait_for(lambda: "is PENDING" in said(self._project), "a job that waits")

    def __exit__(self, *_: object) -> None:
        self._rig.scancel(str(self._holder))


def test_a_checkout_that_changes_while_the_job_waits_trains_nothing(clean_rig: Rig, project: Project) -> None:
    queue = Queue(clean_rig, project)
    with queue:
        path = project.folder / TRAINER_CONFIG
        path.write_text(RATE.sub("lr=0.5,", path.read_text(), count=1))
    assert queue.controller.wait() != 0
    assert re.search(rf"nothing is trained \({CHANGED}\)", message(project)), said(project)
    assert sorted(file.name for file in project.stage("stage1").iterdir()) == ["train.log"]


@pytest.mark.long
def test_a_job_without_what_was_submitted_says_so_in_the_controller(clean_rig: Rig, project: Project) -> None:
    queue = Queue(clean_rig, project)
    with queue:
        for path in (project.folder / ".snakemake/trainrelay").glob("submitted-*"):
            path.unlink()
    assert queue.controller.wait() != 0
    assert "which says what this job was submitted for, is missing or damaged" in message(project)
    assert project.attempts() == {}


@pytest.mark.long
def test_a_controller_with_another_config_does_not_take_the_training_for_its_own(
    clean_rig: Rig, project: Project
) -> None:
    first = started(project)
    wait_for((project.stage("stage1") / "work_dir/epoch_1.pth").exists, "the first epoch")
    (job,) = clean_rig.live()
    clean_rig.scontrol("suspend", job)  # it must live until the second controller has looked
    first.send_signal(signal.SIGKILL)
    first.wait()

    def faster(data: dict[str, Any]) -> None:
        data["runs"]["driving"]["stages"]["stage1"]["options"]["optimizer.lr"] = 0.5

    project.configure(faster)
    assert project.run("snakemake", "--unlock").returncode == 0
    planned = project.succeed("-n")
    assert "driving/stage1: trains nothing: it is being trained now" in planned
    assert re.search(CHANGED, planned)
    assert started(project).wait() != 0
    clean_rig.scontrol("resume", job)
    assert re.search(rf"job {job} does this with other params since .*: scancel {job}\.", said(project))
    wait_for(lambda: not clean_rig.live(), "the end of the training", 120)
    assert not (project.stage("stage1") / "checkpoint.json").exists()
    planned = project.succeed("-n")
    assert "driving/stage1: trains 2 epochs from scratch" in planned, "the new training is not taken for done"
    assert re.search(CHANGED, planned)
