"""A DETR-like script that names checkpoints in six ways and counts in two: killed, resumed, promoted.

`PRINTS` and `MASK` say what else the script does.
"""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from support import detr_like
from trainrelay.config import Config, parse, stage_paths
from trainrelay.errors import NoProgress
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext

PRINTS, MASK = "tqdm", True
EPOCHS, PHASES = 3, ("within", "before-save", "after-save")

pytestmark = [pytest.mark.xdist_group("trainings"), pytest.mark.slow, pytest.mark.long]


def config_of(folder: Path, options: dict[str, Any], ranks: int, **trainer: Any) -> Config:
    (folder / "checkout").mkdir()
    shutil.copy(detr_like.__file__, folder / "checkout/main.py")
    stage = {"config": "main.py", "epochs": EPOCHS, "backends": ["gloo"], "options": options}
    stages = {
        "pose": {**stage, "promotion": {"target": "ckpts/pose.pth"}},
        "next": {**stage, "options": {**options, "save_kill": None}, "epochs": 2, "init_from": "pose"},
    }
    how = {"kind": "metriclogger", "root": str(folder / "checkout"), "entry": "main.py", "device": "cpu"}
    how = {**how, "nproc_per_node": ranks, "env": {"OMP_NUM_THREADS": "1"}, **trainer}
    return parse({"out": str(folder / "runs"), "runs": {"k": {"trainer": how, "stages": stages}}})


def trained(config: Config, stage: str, epochs: int, base: int) -> Path:
    """Trained and promoted; the file that is promoted."""
    train_stage(StageContext(config, "k", stage))
    promote_stage(StageContext(config, "k", stage))
    record = json.loads(stage_paths(config, "k", stage).checkpoint.read_text())
    path = Path(record["target"] or record["source"]["file"]["path"])
    whole = torch.load(path, weights_only=False)
    assert whole["epoch"] + base == epochs == record["source"]["epoch"]
    return path


CASES = list(itertools.product(detr_like.SCHEMES, (0, 1)))


@pytest.mark.parametrize(("scheme", "base"), CASES)
def test_killed_once_it_resumes_is_promoted_and_begins_a_second_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, base: int
) -> None:
    monkeypatch.chdir(tmp_path)
    number = CASES.index((scheme, base))
    phase, epoch = PHASES[number % 3], 2 + number % 2
    options = {"scheme": scheme, "epoch_base": base, "save_kill": f"{phase}:{epoch}", "prints": PRINTS}
    options = {**options, "first_printed": number // 6, **({"mask": True} if MASK else {})}
    config = config_of(tmp_path, options, ranks=2 if number % 5 == 0 else 1)
    trained(config, "pose", EPOCHS, base)
    attempts = list_attempts(stage_paths(config, "k", "pose").folder)
    assert attempts[0].last_epoch == epoch
    saved = epoch if phase == "after-save" else epoch - 1
    if saved == EPOCHS:
        assert [one.end for one in attempts] == ["done"], "it was killed after its last checkpoint"
    else:
        assert [one.end for one in attempts] == ["killed", "done"]
        assert attempts[1].resumed_from is not None
        assert attempts[1].resumed_from.epoch == saved
    trained(config, "next", 2, base)
    assert (tmp_path / "checkout/ckpts/pose.pth").is_file()


def test_a_script_that_cannot_load_its_own_checkpoints_is_cured_by_what_the_failure_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DETR: it saves its arguments, which torch 2.6 and later load only if they are told to."""
    monkeypatch.chdir(tmp_path)
    cure = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    (tmp_path / "one").mkdir()
    options = {"save_kill": "within:2"}
    config = config_of(tmp_path / "one", options, ranks=1)
    script = tmp_path / "one/checkout/main.py"
    script.write_text(script.read_text().replace(", weights_only=False", ""))
    with pytest.raises(NoProgress, match=r"set `env: \{TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD: '1'\}`"):
        train_stage(StageContext(config, "k", "pose"))
    how = config.runs["k"].trainer
    cured = how.model_copy(update={"env": {**how.env, **cure}})
    run = config.runs["k"].model_copy(update={"trainer": cured})
    config = config.model_copy(update={"runs": {"k": run}})
    train_stage(StageContext(config, "k", "pose"))
    attempts = list_attempts(stage_paths(config, "k", "pose").folder)
    assert [one.end for one in attempts] == ["killed", "trainer-bug", "done"]
    assert attempts[2].resumed_from
    assert attempts[2].resumed_from.epoch == 1
