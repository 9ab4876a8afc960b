"""A start that failed before it trained, and a config that is fixed then: nothing is archived."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.toy_project import ToyByRate, ToyProject, make_checkout
from trainrelay.errors import NoProgress
from trainrelay.trainers import TRAINERS, Launch, LaunchRequest
from trainrelay.training import state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan

pytestmark = pytest.mark.process

WRONG = {"options": {"optimizer.lr": 9.9}}
CODE = "raise TypeError(\"__init__() got an unexpected keyword argument 'lenght'\")"


class FailsAtOnce(ToyByRate):
    """With a rate of 9.9 it fails as a trainer does whose config has a misspelled key."""

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        whole = super().launch(request, inherited)
        wrong = "9.9" in " ".join(whole.argv)
        return Launch((request.interpreter, "-c", CODE), whole.env, whole.cwd) if wrong else whole


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    toy = ToyProject(make_checkout(tmp_path, monkeypatch, 0.1, 0.2), tmp_path / "runs")
    monkeypatch.setitem(TRAINERS, "mmcv", FailsAtOnce(tmp_path / "templates"))
    return toy


@pytest.fixture
def failed(toy: ToyProject) -> ToyProject:
    with pytest.raises(NoProgress, match="failed before its first training step"):
        toy.train(**WRONG)
    return toy


def archived(toy: ToyProject) -> list[str]:
    places = (toy.paths().folder.parent, toy.paths().work_dir.parent)
    return [path.name for place in places for path in place.glob("*.old*")]


def at(toy: ToyProject, **stage: object) -> StageContext:
    return StageContext(toy.config(**stage), "r", "s")


def test_the_fixed_config_trains_in_the_same_place(failed: ToyProject) -> None:
    planned = stage_plan(at(failed))
    assert (planned.state, planned.action, planned.archived_to) == ("fresh", "train", None)
    assert [str(one) for one in planned.differences] == ["config: optimizer.lr: 9.9 -> 0.1"]
    assert planned.doing == "trains 3 epochs"
    failed.train()
    failed.promote()
    assert archived(failed) == []
    assert [one.end for one in list_attempts(failed.paths().folder)] == ["trainer-bug", "done"]
    assert state.current(at(failed)).kind == "complete"


def test_a_second_mistake_and_the_first_one_again_archive_nothing_either(failed: ToyProject) -> None:
    for stage in ({**WRONG, "seed": 7}, WRONG):
        with pytest.raises(NoProgress):
            failed.train(**stage)
    assert archived(failed) == []
    assert len(list_attempts(failed.paths().folder)) == 3


def test_another_initial_checkpoint_archives_nothing_either(toy: ToyProject) -> None:
    (toy.checkout / "a.py").write_text("optimizer = dict(lr=9.9)\nload_from = 'x.pth'\n")
    for content in (b"one", b"two"):
        (toy.checkout / "x.pth").write_bytes(content)
        with pytest.raises(NoProgress):
            toy.train()
    assert archived(toy) == []


def test_an_earlier_stage_that_trains_first_archives_nothing_either(failed: ToyProject) -> None:
    planned = stage_plan(at(failed, **WRONG), "an earlier stage")
    assert (planned.action, planned.archived_to) == ("train", None)


@pytest.mark.parametrize("left", ["global_step10/mp_rank_00.pt", "best.pth", "epoch_1.pth"])
def test_what_may_be_a_checkpoint_is_archived(failed: ToyProject, left: str) -> None:
    path = failed.paths().work_dir / left
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights of a trainer whose log says nothing")
    assert state.current(at(failed)).kind == "changed"
    failed.train()
    assert archived(failed) == ["s.old-1", "s.old-1"]


def test_a_training_that_is_archived_is_not_repeated_after_a_mistake(toy: ToyProject) -> None:
    toy.train()
    with pytest.raises(NoProgress):
        toy.train(**WRONG)
    planned = stage_plan(at(toy))
    assert planned.action == "refuse"
    assert "run: trainrelay restore r/s 1" in planned.refused[0]
