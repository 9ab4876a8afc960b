"""As test_exact_resume, with mmengine's Runner and with runners that count iterations.

Of mmengine each row of the log is compared, smoothed and averaged over all iterations; EMA, schedulers, too.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from trainrelay_hook.mmengine_runner import Mmengine
from unit.hook.conftest import Ranks, Stage, manifest
from unit.hook.test_exact_resume import EPOCH, STEPS, continued, drawn, killed, same, trained  # noqa: F401

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("exact")]

EPOCHS = {"runner": "EpochBasedTrainLoop", "sampler": "DefaultSampler"}
ENDLESS = {"runner": "IterBasedTrainLoop", "sampler": "InfiniteSampler", "paced": True}
PASSES = {"runner": "IterBasedTrainLoop", "sampler": "DefaultSampler", "paced": True}
MMCV = {"runner": "IterBasedRunner", "sampler": "DistributedGroupSampler", "paced": True}
SHORT = {"epochs": 2, "workers": 0}


def test_mmengine_killed_within_an_epoch(ranks: Ranks, drawn: random.Random, tmp_path: Path) -> None:  # noqa: F811
    """With accumulation, a loss scaler, EMA, schedules by iteration and by epoch, and evaluation."""
    case: dict[str, Any] = {**EPOCHS, **SHORT}
    stage = Stage(ranks, tmp_path / "killed", **case)
    die = killed(drawn, "iteration", EPOCH + 4, 2 * EPOCH - 1)
    assert same(continued(stage, die), trained(ranks, tmp_path / "whole", **case))
    within = [facts for facts in map(manifest, stage.valid()) if facts["iteration"] < EPOCH]
    assert {facts["step"] % 2 for facts in within} <= {0}  # between two updates of the weights
    assert manifest(stage.valid()[0])["runner"] == "EpochBasedTrainLoop"


def test_mmengine_continued_where_gradients_of_unused_parameters_wait(ranks: Ranks, tmp_path: Path) -> None:
    """Those of an epoch's last iteration, which are not averaged yet; the next one uses other parameters."""
    case: dict[str, Any] = {**EPOCHS, **SHORT, "unused": True}
    stage = Stage(ranks, tmp_path / "killed", **case)
    stage.steps["every_s"] = 3600.0
    assert set(stage.run(die={"rank": 0, "step": EPOCH + 1, "place": "iteration"})) == {-9}, stage.output()
    assert stage.run() == [0, 0], stage.output()
    assert stage.note(0)["resumed"]["step"] == EPOCH
    assert same(stage, trained(ranks, tmp_path / "whole", **case))


def test_a_model_that_steps_several_optimizers_itself(
    ranks: Ranks,
    drawn: random.Random,  # noqa: F811
    tmp_path: Path,
) -> None:
    """mmengine's OptimWrapperDict, with each part of the model in a DDP."""
    case: dict[str, Any] = {**EPOCHS, **SHORT, "several": True, "scaled": False, "accumulate": 1}
    stage = Stage(ranks, tmp_path / "killed", **case)
    die = killed(drawn, "iteration", EPOCH + 4, 2 * EPOCH - 1)
    assert same(continued(stage, die), trained(ranks, tmp_path / "whole", **case))


def test_no_loss_is_kept_for_an_evaluation() -> None:
    """Its graph may be what is left of the memory."""
    known = Mmengine.__new__(Mmengine)
    told: list[Any] = []
    known.loss = None
    known._updates(lambda loss: loss, lambda: told.append(known.loss), "the loss")
    assert (told, known.loss) == (["the loss"], None)


@pytest.mark.long
@pytest.mark.parametrize("place", ["iteration", "evaluation", "saving", "requested"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"workers": 2, "persistent": True},
        {"world": 4, "scaled": False, "accumulate": 3},
        {"workers": 2, "ema": False, "accumulate": 1},
    ],
    ids=["plain", "persistent", "4-ranks", "workers"],
)
def test_mmengine_killed_anywhere(
    ranks: Ranks,
    drawn: random.Random,  # noqa: F811
    tmp_path: Path,
    place: str,
    more: dict[str, Any],
) -> None:
    """Twice, the second time after it was continued; the trainer's own checkpoints stay as they were."""
    case = {**EPOCHS, "workers": 0, **more}
    stage, world = Stage(ranks, tmp_path / "killed", **case), case.get("world", 2)
    dies = [
        killed(drawn, place, EPOCH + 1, EPOCH + 6, world),
        killed(drawn, place, 2 * EPOCH + 2, STEPS - 4, world),
    ]
    assert same(continued(stage, *dies), trained(ranks, tmp_path / "whole", **case))


@pytest.mark.long
@pytest.mark.parametrize(
    ("case", "step"),
    [
        (ENDLESS, 24),
        ({**ENDLESS, "workers": 0, "accumulate": 1}, 17),
        ({**ENDLESS, "world": 4, "scaled": False}, 26),
        (PASSES, 27),
        ({**PASSES, "workers": 0, "accumulate": 1}, 27),  # saved at the end of a pass over the data
        ({**PASSES, "persistent": True, "accumulate": 1}, 33),
        (MMCV, 24),
        ({**MMCV, "workers": 0, "accumulate": 1, "scaled": False}, 27),
        ({**MMCV, "world": 4, "accumulate": 3, "scaled": False}, 34),
    ],
)
def test_iterations_killed(ranks: Ranks, tmp_path: Path, case: dict[str, Any], step: int) -> None:
    """A few steps past the trainer's own checkpoint, which lacks the random states: its step is not exact."""
    stage = Stage(ranks, tmp_path / "killed", **case)
    assert set(stage.run(die={"rank": 1, "step": step, "place": "iteration"})) == {-9}, stage.output()
    newest = stage.newest()
    assert newest, "no step checkpoint"
    assert stage.run() == [0] * case.get("world", 2), stage.output()
    assert stage.note(0)["resumed"]["step"] == manifest(newest)["step"] > step - 5
    assert same(stage, trained(ranks, tmp_path / "whole", **case))


@pytest.mark.long
@pytest.mark.parametrize(
    "case", [EPOCHS, ENDLESS, PASSES, MMCV], ids=lambda case: "-".join(map(str, case.values()))
)
def test_the_training_itself_is_not_changed(ranks: Ranks, tmp_path: Path, case: dict[str, Any]) -> None:
    """Saving without `exact`, and no hook at all: the same bits."""
    case = {**case, "workers": 0, "epochs": 2}
    bare, saving = Stage(ranks, tmp_path / "bare", **case), Stage(ranks, tmp_path / "saving", **case)
    saving.steps["exact"] = False
    assert [bare.run(hooked=False), saving.run()] == [[0, 0], [0, 0]], saving.output()
    assert saving.valid()
    assert saving.ends() == bare.ends()
    assert saving.rows() == bare.rows()
