"""The hook in the driving demo, as a user meets it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from support.project import CONFIG, make_project
from trainrelay.supervise import newest_telemetry

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trained")]


def test_a_training_is_stopped_before_its_weights_are_spoiled_and_explained(tmp_path: Path) -> None:
    """The first step is finite and far too large; before the second one both ranks stop, for good."""
    config = copy.deepcopy(CONFIG)
    config["runs"]["driving"]["stages"]["stage1"]["options"]["optimizer.lr"] = 1e30
    project = make_project(tmp_path / "my müddle project", config)
    done = project.trainrelay("train", "driving/stage1")
    assert done.returncode == 3, done.stderr
    said = "stopped before the optimizer step of epoch 1, iteration 2 (step 2 of the training): "
    assert f"diverged ({said}" in done.stdout + done.stderr
    (attempt,) = (project.stage("stage1") / "attempts").iterdir()
    record = json.loads((attempt / "attempt.json").read_text())
    assert (record["end"], record["hook"], record["last_iteration"]) == ("diverged", None, 1)
    assert record["reason"].startswith(said)
    assert len(list((attempt / "hook").glob("not-finite-*.json"))) == 2
    counted = newest_telemetry(attempt)
    assert counted is not None
    assert [one.steps for one in counted.ranks] == [1, 1]
    assert said.removesuffix(": ") in (project.folder / "runs/driving/report.html").read_text()
