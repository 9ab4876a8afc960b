"""A trainer that is not mmcv, through the whole workflow: real trainings of the keypoint model, cut short."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from support.processes import ranks_of, started, wait_for
from support.project import KEYPOINTS, TIMEOUT_S, Project, make_project, restore, save

pytestmark = [pytest.mark.xdist_group("trainings"), pytest.mark.slow]
STAGE = "keypoints/pose"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    base = tmp_path_factory.mktemp("keypoints")
    project = make_project(base / "my müddle project", KEYPOINTS)
    project.succeed()
    save(project, base / "saved")
    return project, base / "saved"


@pytest.fixture
def trained(once: tuple[Project, Path]) -> Project:
    project, saved = once
    restore(project, saved)
    return project


def pose(project: Project) -> Path:
    return project.stage("pose", "keypoints")


def trained_to(project: Project, attempt: int) -> list[int]:
    """The epochs of an attempt's log as the trainer counts them, from 0."""
    log = (pose(project) / f"attempts/{attempt:03d}/trainer.log").read_text()
    return [int(epoch) for epoch in re.findall(r"Epoch: \[(\d+)\]\s+\[ *0/", log)]


def test_it_is_trained_promoted_analysed_and_reported_and_a_second_run_has_nothing_to_do(
    trained: Project,
) -> None:
    analysis = json.loads((pose(trained) / "analysis.json").read_text())
    assert (analysis["format"], analysis["epochs"], analysis["segments"]) == ("metriclogger-text", 3, 1)
    assert analysis["progress"]["finished"] is True
    promoted = trained.folder / "workflow/demo/keypoints/ckpts/pose.pth"
    assert promoted.read_bytes() == (pose(trained) / "work_dir/checkpoint0002.pth").read_bytes()
    record = json.loads((pose(trained) / "train.json").read_text())
    assert record["final_checkpoint"]["epoch"] == 3
    assert "keypoints/report.html" in (trained.folder / "runs/index.html").read_text()
    assert "Nothing to be done" in trained.succeed()


@pytest.mark.long
def test_killed_in_an_epoch_it_resumes_in_that_epoch_by_itself(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", KEYPOINTS)
    running = started(project)
    wait_for((pose(project) / "work_dir/checkpoint0000.pth").exists)
    victim = next(rank for rank in ranks_of(project, "./main.py") if rank.environ().get("RANK") == "1")
    threads = {key: value for key, value in victim.environ().items() if key.endswith("_NUM_THREADS")}
    assert threads == {"OMP_NUM_THREADS": "1"}, "Snakemake's count of cores reached each rank"
    os.kill(victim.pid, signal.SIGKILL)
    assert running.wait(timeout=TIMEOUT_S) == 0
    second = json.loads((pose(project) / "attempts/002/attempt.json").read_text())
    finished = second["resumed_from"]["epoch"]
    assert 1 <= finished < 3
    assert trained_to(project, 2) == list(range(finished, 3))
    assert ranks_of(project, "./main.py") == []
    assert project.attempts() == {"pose": 2}
    analysis = json.loads((pose(project) / "analysis.json").read_text())
    assert (analysis["segments"], analysis["epochs"]) == (2, 3)
    assert "Nothing to be done" in project.succeed()


@pytest.mark.long
def test_raised_epochs_go_on_from_what_is_there(trained: Project) -> None:
    trained.configure(lambda data: data["runs"]["keypoints"]["stages"]["pose"].update(epochs=4))
    assert trained.scheduled() == {STAGE: "continues from epoch 3 to 4"}
    trained.succeed()
    assert trained_to(trained, 2) == [3]


def test_another_default_in_the_script_trains_anew_and_print_freq_does_not(trained: Project) -> None:
    trained.configure(
        lambda data: data["runs"]["keypoints"]["stages"]["pose"]["options"].update(print_freq=1)
    )
    assert trained.scheduled() == {}
    script = trained.folder / "workflow/demo/keypoints/main.py"
    script.write_text(script.read_text().replace('"--lr", default=2e-3', '"--lr", default=1e-3'))
    planned = trained.succeed("-n")
    assert "keypoints/pose: trains 3 epochs from scratch" in planned
    assert re.search(r"config: lr: 0\.002 -> 0\.001", planned)


def test_a_mistyped_argument_is_refused_before_anything_starts(trained: Project) -> None:
    trained.configure(lambda data: data["runs"]["keypoints"]["stages"]["pose"]["options"].update(lrr=1))
    done = trained.snakemake()
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "options.lrr: ./main.py declares no such argument; did you mean lr?" in said
    assert "nothing was started" in said
    assert trained.attempts() == {"pose": 1}
    assert "Traceback" not in said
