"""mmengine's own Runner, started by a script like mmdet 3's: killed, resumed, promoted, a second stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from trainrelay.checkpoint import glance
from trainrelay.config import Config, parse, stage_paths
from trainrelay.operations.analyze import analyze_stage
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.records import AttemptRecord
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext

CHECKOUT = Path(__file__).parents[1] / "support/mmengine_checkout"

pytestmark = [pytest.mark.xdist_group("trainings"), pytest.mark.slow]


def config_of(folder: Path, plan: dict[str, Any]) -> Config:
    """A run of two stages in a copy of the checkout; `plan` says where a rank is killed."""
    checkout = folder / "check out"
    shutil.copytree(CHECKOUT, checkout)
    (folder / "plan.json").write_text(json.dumps(plan))
    stage = {"config": "configs/first.py", "epochs": 3, "seed": 3, "backends": ["gloo"]}
    stages = {
        "first": {**stage, "promotion": {"target": "ckpts/first.pth"}},
        "second": {**stage, "config": "configs/second.py", "epochs": 1, "init_from": "first"},
    }
    env = {"OMP_NUM_THREADS": "1", "PLAN": str(folder / "plan.json")}
    how = {"kind": "mmengine", "root": str(checkout), "device": "cpu", "nproc_per_node": 2, "env": env}
    return parse({"out": str(folder / "runs"), "runs": {"m": {"trainer": how, "stages": stages}}})


def trained(config: Config, stage: str) -> tuple[AttemptRecord, ...]:
    train_stage(StageContext(config, "m", stage))
    promote_stage(StageContext(config, "m", stage))
    return list_attempts(stage_paths(config, "m", stage).folder)


def test_killed_once_it_resumes_is_judged_and_promoted_and_begins_a_second_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the third epoch a rank is killed: what was saved after the second holds HistoryBuffers."""
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, {"at": [1, 3, 2]})
    attempts = trained(config, "first")
    assert [one.end for one in attempts] == ["killed", "done"]
    assert attempts[1].resumed_from is not None
    assert attempts[1].resumed_from.epoch == 2
    log = (stage_paths(config, "m", "first").folder / "attempts/002/trainer.log").read_text()
    assert "resumed epoch: 2, iter: 8" in log
    assert glance(tmp_path / "check out/ckpts/first.pth").number == 3
    analyze_stage(StageContext(config, "m", "first"))
    analysis = json.loads(stage_paths(config, "m", "first").analysis.read_text())
    assert (analysis["format"], analysis["epochs"], analysis["iterations"]) == ("mmengine-text", 3, 12)
    assert analysis["verdict"] == "healthy"
    (attempt,) = trained(config, "second")
    assert "load_from=ckpts/first.pth" in attempt.argv
    log = (stage_paths(config, "m", "second").folder / "attempts/001/trainer.log").read_text()
    assert "Load checkpoint from ckpts/first.pth" in log
    assert "resumed" not in log
