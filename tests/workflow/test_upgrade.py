"""Trainings that an earlier version stopped go on in this one: real trainers, real checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.old_runs import make_old_project

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize("where", ["driving/stage2", "keypoints/pose"])
def test_a_training_of_an_earlier_version_resumes_from_its_checkpoint(tmp_path: Path, where: str) -> None:
    project = make_old_project(tmp_path / "my müddle project")
    run, stage = where.split("/")
    project.configure(lambda data: data["runs"][run]["stages"][stage].update(epochs=2))
    done = project.trainrelay("train", where)
    assert done.returncode == 0, done.stderr
    second = json.loads((project.stage(stage, run) / "attempts/002/attempt.json").read_text())
    assert (second["resumed_from"]["epoch"], second["end"]) == (1, "done")
    assert (
        json.loads((project.stage(stage, run) / "train.json").read_text())["final_checkpoint"]["epoch"] == 2
    )


def test_snakemake_promotes_what_an_earlier_version_trained_without_training_it(tmp_path: Path) -> None:
    """Its memory is gone or says other params: either way the rule runs, and has nothing to train."""
    project = make_old_project(tmp_path / "p")
    project.succeed("--until", "promote_stage1")
    assert project.attempts()["stage1"] == 1
