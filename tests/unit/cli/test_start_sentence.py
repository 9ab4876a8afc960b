"""From what an attempt starts: nothing, or an initial checkpoint, which is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.toy_project import ToyProject, make_checkout
from trainrelay.config import parse
from trainrelay.operations.train import train_stage
from trainrelay.training.context import StageContext

pytestmark = pytest.mark.process

START = "attempt 1 (gloo, 1 rank) starts"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    return ToyProject(make_checkout(tmp_path, monkeypatch, 0.1), tmp_path / "runs")


def test_without_one_it_starts_from_the_beginning(
    toy: ToyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.train()
    assert f"{START} from the beginning; log: " in capsys.readouterr().err


def test_the_checkpoint_of_the_trainers_own_config_is_named(
    toy: ToyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(toy.checkout.parent / "templates/0.1/epoch_1.pth", toy.checkout / "x.pth")
    (toy.checkout / "a.py").write_text("optimizer = dict(lr=0.1)\nload_from = 'x.pth'\n")
    toy.train()
    assert f"{START} at epoch 1 from x.pth; log: " in capsys.readouterr().err


def test_the_checkpoint_of_the_earlier_stage_is_named(
    toy: ToyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.train()
    toy.promote()
    data = toy.config().model_dump(by_alias=True, mode="json")
    stages = data["runs"]["r"]["stages"]
    stages["t"] = {**stages["s"], "init_from": "s", "promotion": None, "work_dir": None}
    train_stage(StageContext(parse(data), "r", "t"))
    assert f"r/t: {START} at epoch 1 from ckpts/runs.pth; log: " in capsys.readouterr().err
