"""A training that was killed and continued is bit-identical to one that was not; real mmcv, torch and gloo.

Weights, buffers, optimizer, loss scaler and the next random numbers of each rank, and every row of the log to
all digits. Each draws where it is killed from a fresh seed: TRAINRELAY_SEED repeats one.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from unit.hook.conftest import Ranks, Stage, manifest

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("exact")]

EPOCH, STEPS = 13, 39  # iterations of an epoch and of the training
KILLED = [-9, -9]


@pytest.fixture
def drawn() -> random.Random:
    """A generator of a fresh seed, which a failure prints."""
    seed = int(os.environ.get("TRAINRELAY_SEED") or random.SystemRandom().randrange(2**31))
    print(f"TRAINRELAY_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="module")
def uninterrupted(ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The training that all others are compared with."""
    return trained(ranks, tmp_path_factory.mktemp("uninterrupted"))


def trained(ranks: Ranks, folder: Path, **case: Any) -> Stage:
    stage = Stage(ranks, folder, **case)
    assert set(stage.run()) == {0}, stage.output()
    return stage


def continued(stage: Stage, *dies: dict[str, Any]) -> Stage:
    """Killed as often as said, and continued each time at the newest step."""
    for number, die in enumerate(dies):
        assert set(stage.run(die=die)) == {-9}, stage.output()
        if number:
            assert stage.note(0)["resumed"]["step"] >= EPOCH
    newest = stage.newest()
    assert newest, "no step checkpoint"
    assert set(stage.run()) == {0}, stage.output()
    facts = manifest(newest)
    place = {name: facts[name] for name in ("step", "epoch", "iteration")}
    assert [stage.note(rank)["resumed"] for rank in range(facts["world_size"])] == [place] * facts[
        "world_size"
    ]
    return stage


def same(one: Stage, other: Stage) -> bool:
    assert one.rows() == other.rows()
    assert one.ends() == other.ends()
    return len(one.rows()) >= 6


def killed(
    drawn: random.Random,
    place: str = "iteration",
    first: int = EPOCH + 4,
    last: int = STEPS - 4,
    world: int = 2,
) -> dict[str, Any]:
    """A rank at an iteration."""
    return {"rank": drawn.randrange(world), "step": drawn.randrange(first, last), "place": place}


def test_killed_at_any_iteration(
    ranks: Ranks, uninterrupted: Stage, drawn: random.Random, tmp_path: Path
) -> None:
    """With dropout, draws in the workers, a group sampler, accumulation, EMA, a scaler and evaluation."""
    stage = continued(Stage(ranks, tmp_path), killed(drawn))
    assert same(stage, uninterrupted)
    within = [facts for facts in map(manifest, stage.valid()) if facts["iteration"] < EPOCH]
    assert {facts["step"] % 2 for facts in within} <= {0}  # between two updates of the weights


def test_a_sample_is_drawn_another_way_in_each_epoch(uninterrupted: Stage) -> None:
    """Though its draws are seeded."""
    assert json.loads((uninterrupted.attempt() / "draws-0.json").read_text()) > 1


def test_killed_twice_in_one_epoch(
    ranks: Ranks, uninterrupted: Stage, drawn: random.Random, tmp_path: Path
) -> None:
    """The second time after the training was continued there."""
    first = killed(drawn, "iteration", EPOCH + 4, EPOCH + 6)
    second = killed(drawn, "iteration", EPOCH + 8, EPOCH + 12)
    assert same(continued(Stage(ranks, tmp_path), first, second), uninterrupted)


def test_killed_in_an_evaluation_and_as_the_next_epoch_begins(
    ranks: Ranks, uninterrupted: Stage, drawn: random.Random, tmp_path: Path
) -> None:
    """The trainer's own checkpoint is as new as the step checkpoint of the epoch's end, and lacks the rest.

    Gradients of the epoch's last iteration wait for the next one's, and the evaluation is made again.
    """
    stage = Stage(ranks, tmp_path)
    stage.steps["every_s"] = 3600.0
    evaluated, begun = (
        killed(drawn, "evaluation", EPOCH, EPOCH + 1),
        killed(drawn, first=EPOCH + 1, last=EPOCH + 2),
    )
    assert set(stage.run(die=evaluated)) == {-9}, stage.output()
    own = tmp_path / "work_dir/epoch_1.pth"
    before = own.stat()
    assert same(continued(stage, begun), uninterrupted)
    assert [manifest(one)["step"] for one in stage.valid()] == [STEPS, 2 * EPOCH, EPOCH]
    assert (own.stat().st_ino, own.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_saved_on_request_and_killed(
    ranks: Ranks, uninterrupted: Stage, drawn: random.Random, tmp_path: Path
) -> None:
    """At the next step; it says which request it answers."""
    stage = Stage(ranks, tmp_path)
    stage.steps["every_s"] = 3600.0
    die = killed(drawn, "requested", first=2 * EPOCH + 1)  # after what the data set was told in the second
    assert stage.run(die=die) == KILLED, stage.output()
    only = stage.valid()[0]
    assert manifest(only)["request"] == 1
    # Gradients are accumulated over 2 iterations, and the loss scaler may skip a step.
    assert 0 <= manifest(only)["step"] - die["step"] <= 4
    assert stage.run() == [0, 0], stage.output()
    assert same(stage, uninterrupted)


def test_killed_while_a_step_checkpoint_is_written(
    ranks: Ranks, uninterrupted: Stage, drawn: random.Random, tmp_path: Path
) -> None:
    """The one before is taken."""
    stage = Stage(ranks, tmp_path)
    assert same(continued(stage, killed(drawn, "saving")), uninterrupted)
    left = [one for one in (stage.attempt(1) / "steps").iterdir() if not (one / "manifest.json").exists()]
    assert left


@pytest.mark.long
def test_with_workers_that_outlive_an_epoch(ranks: Ranks, drawn: random.Random, tmp_path: Path) -> None:
    """They learn of the epoch by the batch."""
    other = trained(ranks, tmp_path / "uninterrupted", persistent=True)
    assert same(continued(Stage(ranks, tmp_path / "killed", persistent=True), killed(drawn)), other)


def test_the_training_itself_is_not_changed(ranks: Ranks, tmp_path: Path) -> None:
    """Saving at each step without `exact`, and no hook at all: the same bits."""
    case = {"workers": 0, "epochs": 2}
    bare, saving = Stage(ranks, tmp_path / "bare", **case), Stage(ranks, tmp_path / "saving", **case)
    saving.steps["exact"] = False
    assert [bare.run(hooked=False), saving.run()] == [[0, 0], [0, 0]], saving.output()
    assert saving.valid()
    assert saving.ends() == bare.ends()
    assert saving.rows() == bare.rows()
