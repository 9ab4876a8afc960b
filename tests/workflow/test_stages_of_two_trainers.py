"""As MAE's: the second stage has its own script, here also its own kind, and the first one's weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from support import detr_like
from trainrelay.config import parse, stage_paths
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.xdist_group("trainings")]

COMMAND = "{launcher} {entry} --epochs {epochs} --output_dir {work_dir} --device {device} --lr 0.1"


def test_two_stages_with_another_script_and_kind_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its own script and in the words of its own kind."""
    monkeypatch.chdir(tmp_path)
    for name in ("main_pretrain.py", "main_finetune.py"):
        shutil.copy(detr_like.__file__, tmp_path / name)
    script = {"command": COMMAND, "backend": "--dist_backend {backend}"}
    trainer: dict[str, Any] = {
        "kind": "script",
        "entry": "main_pretrain.py",
        "script": script,
        "device": "cpu",
    }
    trainer |= {"root": str(tmp_path), "nproc_per_node": 1, "env": {"OMP_NUM_THREADS": "1"}}
    own = {"kind": "metriclogger", "entry": "main_finetune.py"}
    stages = {
        "pretrain": {"config": "main_pretrain.py", "epochs": 1},
        "finetune": {"config": "main_finetune.py", "epochs": 1, "init_from": "pretrain", "trainer": own},
    }
    config = parse({"out": "runs", "runs": {"mae": {"trainer": trainer, "stages": stages}}})
    began, argvs = [], []
    for stage in stages:
        train_stage(StageContext(config, "mae", stage))
        promote_stage(StageContext(config, "mae", stage))
        paths = stage_paths(config, "mae", stage)
        began.append(json.loads(paths.checkpoint.read_text())["source"]["file"]["path"])
        argvs.append(list_attempts(paths.folder)[0].argv)
    first, second = argvs
    assert ("main_pretrain.py" in first, "--lr" in first) == (True, True)
    assert "main_finetune.py" in second
    assert second[second.index("--finetune") + 1] == began[0]
    assert torch.load(began[1], weights_only=False)["args"].finetune == began[0]
