"""The best epoch promoted by real trainings: an mmcv one in two stages, and one of DETR's family."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.project import KEYPOINTS, make_project
from trainrelay.system.files import sha256_of

pytestmark = [pytest.mark.xdist_group("trainings"), pytest.mark.slow, pytest.mark.long]


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def evaluated(log: Path, line: str) -> dict[int, float]:
    """A metric by epoch, as the trainer printed it."""
    found = re.findall(line, log.read_text())
    return {int(epoch): float(value) for epoch, value in found}


def test_the_best_epoch_starts_the_next_stage_and_another_mode_retrains_only_that(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")

    def ask(mode: str) -> None:
        def change(data: dict[str, Any]) -> None:
            first = data["runs"]["driving"]["stages"]["stage1"]
            first |= {"validate": True, "checkpoint": {"best": "drivable_iou", "mode": mode}}
            first["options"] |= {"evaluation.interval": 1}

        project.configure(change)

    def promoted() -> int:
        """The epoch that is promoted, and from which stage 2 started."""
        record, second = read(project.stage("stage1") / "checkpoint.json"), project.stage("stage2")
        epoch: int = record["best"]["first"]["done"]
        source = sha256_of(project.stage("stage1") / f"work_dir/epoch_{epoch}.pth").sha256
        assert record["source"]["file"]["sha256"] == source
        assert sha256_of(Path(record["target"])).sha256 == source
        assert read(second / "stage.json")["initial_checkpoint"]["sha256"] == source
        return epoch

    ask("max")
    assert "2 epochs, promotes the best drivable_iou (max)" in project.succeed()
    log = project.stage("stage1") / "attempts/001/trainer.log"
    scores = evaluated(log, r"Epoch\(val\) \[(\d+)\].*map/drivable_iou: ([\d.]+)")
    assert len(scores) == 2
    best = max(scores, key=scores.__getitem__)
    assert promoted() == best
    assert "Nothing to be done" in project.succeed()
    ask("min")
    said = project.succeed()
    assert re.search(r"init_from: best drivable_iou \(max\) of .* -> best drivable_iou \(min\) of", said)
    assert promoted() == min(scores, key=scores.__getitem__) != best
    assert project.attempts() == {"stage1": 1, "stage2": 1, "stage2.old-1": 1}


def test_a_trainer_of_detrs_family_promotes_its_best_pck(tmp_path: Path) -> None:
    """Three epochs are trained to the end, whichever of them is promoted; the report has the runners-up."""
    project = make_project(tmp_path / "p", KEYPOINTS)
    asked = {"best": "pck@0.1", "mode": "max"}
    project.configure(lambda data: data["runs"]["keypoints"]["stages"]["pose"].update(checkpoint=asked))
    project.succeed()
    pose = project.stage("pose", "keypoints")
    rows = [json.loads(line) for line in (pose / "work_dir/log.txt").read_text().splitlines()]
    scores = {row["epoch"] + 1: row["test_pck@0.1"] for row in rows}
    best = max(scores, key=lambda epoch: (scores[epoch], -epoch))
    record = read(pose / "checkpoint.json")
    assert record["best"]["first"] == {
        "unit": "epoch",
        "done": best,
        "value": pytest.approx(scores[best], abs=1e-4),
    }
    assert len(record["best"]["runners_up"]) == 2
    promoted = project.folder / "workflow/demo/keypoints/ckpts/pose.pth"
    assert promoted.read_bytes() == (pose / f"work_dir/checkpoint{best - 1:04d}.pth").read_bytes()
    assert read(pose / "train.json")["final_checkpoint"]["epoch"] == 3
    assert "best pck@0.1 (max): " in (project.folder / "runs/keypoints/report.html").read_text()
