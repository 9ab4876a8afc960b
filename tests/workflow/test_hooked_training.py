"""The hook in the driving demo, as a user meets it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from support.project import CONFIG, Project, make_project
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


def test_a_second_stage_tells_what_came_from_the_first(trained: Project) -> None:
    """In its record, the report and the analysis; the first stage started from nothing."""
    first, second = (
        json.loads((trained.stage(stage) / "attempts/001/attempt.json").read_text())
        for stage in ("stage1", "stage2")
    )
    assert first["initial"] is None
    assert 0 < second["initial"]["share"] < 1
    new = [name for name, came, _ in second["initial"]["modules"] if not came]
    assert new, second["initial"]
    assert f"{', '.join(new)}: new" in (trained.folder / "runs/driving/report.html").read_text()
    findings = json.loads((trained.stage("stage2") / "analysis.json").read_text())["findings"]
    (found,) = (one for one in findings if one["check"] == "partial-load")
    assert (found["severity"], found["evidence"]["lacking"]) == ("info", sorted(new))


@pytest.mark.long
def test_too_little_of_the_first_stage_ends_the_second_before_its_first_step(trained: Project) -> None:
    """For good, with the sentence in the record, and no checkpoint."""
    change = {"init_match_min": 0.99, "seed": 7}
    trained.configure(lambda data: data["runs"]["driving"]["stages"]["stage2"].update(change))
    done = trained.trainrelay("train", "driving/stage2")
    assert done.returncode != 0, done.stderr
    (attempt,) = (trained.stage("stage2") / "attempts").iterdir()
    record = json.loads((attempt / "attempt.json").read_text())
    assert (record["end"], record["last_iteration"]) == ("trainer-bug", None)
    assert "of the model's parameters came from the initial checkpoint" in record["reason"]
    assert "init_match_min is 0.99" in record["reason"]
