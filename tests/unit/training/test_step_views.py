"""What state, plan, price and report say of a stage whose newest checkpoint is one of a step."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support.attempts import an_attempt
from support.stage_on_disk import EPOCHS, RANKS, OnDisk
from support.step_folders import LENGTH, write_step
from trainrelay.config import parse
from trainrelay.errors import ConfigError
from trainrelay.operations.train import stage_job
from trainrelay.records import Identity, StepPoint
from trainrelay.supervise import StepSaving
from trainrelay.system.files import read_record, write_json
from trainrelay.training import state
from trainrelay.training.code_version import code_version
from trainrelay.training.context import StageContext
from trainrelay.training.cost import iterations_trained
from trainrelay.training.plan import resumes, stage_plan
from trainrelay.training.signature import EXACT, ingredients
from trainrelay.watching.stage import iterations_lost, recorded_last_step

pytestmark = pytest.mark.process


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    """One attempt that was killed in epoch 1, its checkout under git."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    root = disk.base / "checkout"
    commit = ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]
    for words in (["init", "-q"], ["add", "."], commit):
        subprocess.run(["git", "-C", root, *words], check=True)
    code = code_version(root)
    assert code is not None
    disk.train(code=code.name)
    disk.checkpoint.unlink()
    measured = {"last_epoch": 1, "last_iteration": 15, "iters_per_epoch": LENGTH}
    disk.change(end="killed", reason="it was", final_checkpoint=None, **measured)
    return disk


def step(disk: OnDisk, number: int = 13, **changes: Any) -> Path:
    return write_step(disk.paths.folder / "attempts/001", number, ranks=RANKS, **changes)


def at(disk: OnDisk, **stage: Any) -> StageContext:
    return StageContext(disk.config(**stage), "r", "s")


def test_a_first_epoch_with_a_step_checkpoint_is_resumed_to_the_step(disk: OnDisk) -> None:
    step(disk)
    facts = state.read(at(disk))
    judged, planned = state.judge(facts), stage_plan(at(disk))
    assert judged.kind == "resumable"
    assert judged.reason.startswith("0 of 2 epochs trained, 13 iterations more; attempt 1: killed")
    assert planned.action == "resume"
    assert planned.doing == "resumes in epoch 1 after iteration 13 (step 13) of 2 epochs"
    assert "--resume-from" not in planned.launch.argv
    assert resumes(facts) == "in epoch 1 after iteration 13 (step 13)"
    assert planned.price is not None
    assert planned.price.seconds == pytest.approx((EPOCHS * LENGTH - 13) * 3600 / 15)


def test_another_state_of_the_code_is_told_and_not_resumed_from(disk: OnDisk) -> None:
    folder = step(disk)
    (disk.base / "checkout/tools/train.py").write_text("import torch\n")
    planned = stage_plan(at(disk))
    assert planned.action == "train"
    assert "there is no checkpoint to resume from" in planned.reason
    assert any(f"{folder} was saved by the trainer's code" in note for note in planned.notes)
    assert resumes(state.read(at(disk))) is None


def test_what_an_attempt_did_not_do_is_noted(disk: OnDisk) -> None:
    point = StepPoint(path="x", step=13, epoch=1, iteration=13)
    said = {"resumed_step": point, "not_resumed": "another sampler", "unsaved": "the disk is full"}
    disk.change(**said)
    notes = stage_plan(at(disk)).notes
    assert "attempt 1: not resumed in epoch 1 after iteration 13 (step 13): another sampler" in notes
    assert "attempt 1: the disk is full" in notes
    assert not [note for note in stage_plan(at(disk, hook=False)).notes if "attempt 1" in note]


def test_what_a_kill_would_cost_counts_from_the_newest_of_all_checkpoints(disk: OnDisk) -> None:
    now_s = time.time()
    disk.change(end=None, ended_s=None, started_s=now_s - 3600)
    assert state.read(at(disk)).at_risk(now_s) == "a kill now would cost 60 min (8 GPU-hours)"
    step(disk, saved_s=now_s - 600)
    assert state.read(at(disk)).at_risk(now_s) == "a kill now would cost 10 min (1.3 GPU-hours)"
    assert "a kill now would cost 10 min" in stage_plan(at(disk)).doing
    disk.checkpoint.write_bytes(b"x")
    os.utime(disk.checkpoint, (now_s - 60, now_s - 60))
    assert state.read(at(disk)).at_risk(now_s) == "a kill now would cost 1 min (0.13 GPU-hours)"
    on_cpu = StageContext(disk.config(trainer={"device": "cpu"}), "r", "s")
    assert state.read(on_cpu).at_risk(now_s - 50) == "a kill now would cost 10 s (0.022 process-hours)"
    disk.change(end="killed", ended_s=now_s)
    assert state.read(at(disk)).at_risk(now_s) is None


def test_iterations_count_from_where_an_attempt_began() -> None:
    point = StepPoint(path="x", step=33, epoch=2, iteration=13)
    reached = {"last_epoch": 2, "last_iteration": 18, "iters_per_epoch": LENGTH}
    first = an_attempt(1, **{**reached, "last_iteration": 15})
    again = an_attempt(2, 1, resumed_step=point, **reached)
    refused = again.model_copy(update={"not_resumed": "another sampler"})
    assert (iterations_trained(again), iterations_trained(refused)) == (5, 18)
    ends = {one.number: end for one in (first, again) if (end := recorded_last_step(one))}
    assert iterations_lost([first, again], ends) == 2
    assert iterations_lost([first, refused], ends) == 15


# ---------------------------------------------------------------------- exact


def test_exact_is_part_of_the_identity_only_where_on(disk: OnDisk) -> None:
    assert EXACT not in ingredients(at(disk))
    assert ingredients(at(disk, exact=True)) == {**ingredients(at(disk)), EXACT: "True"}


def test_a_training_begun_without_exact_continues_without_it(disk: OnDisk) -> None:
    step(disk)
    facts = state.read(at(disk, exact=True))
    assert (state.judge(facts).kind, EXACT in facts.ingredients) == ("resumable", False)
    planned = stage_plan(at(disk, exact=True))
    assert planned.action == "resume"
    assert "exact: this training began without it, and continues without it" in planned.notes
    assert stage_job(facts).steps == StepSaving(600.0, 2, 3, exact=False)


def test_one_that_has_not_trained_yet_begins_with_it(disk: OnDisk) -> None:
    disk.change(last_epoch=None, last_iteration=None)
    facts = state.read(at(disk, exact=True))
    assert (state.judge(facts).kind, EXACT in facts.ingredients) == ("fresh", True)


def test_one_begun_with_it_is_another_training_without(disk: OnDisk) -> None:
    identity = read_record(disk.paths.identity, Identity)
    assert identity is not None
    write_json(disk.paths.identity, replace_ingredients(identity, exact=True))
    assert state.judge(state.read(at(disk, exact=True))).kind == "resumable"
    judged = state.judge(state.read(at(disk)))
    assert (judged.kind, [str(one) for one in judged.differences]) == ("changed", ["exact: True -> (absent)"])


def replace_ingredients(identity: Identity, *, exact: bool) -> Identity:
    return identity.model_copy(update={"ingredients": {**identity.ingredients, EXACT: str(exact)}})


def test_a_stage_whose_parent_is_exact_is_not_another_one(disk: OnDisk) -> None:
    config = disk.config().model_dump(mode="json", by_alias=True)
    stages = config["runs"]["r"]["stages"]
    stages["t"] = {"config": "a.py", "epochs": 2, "init_from": "s", "resources": {"gpu": RANKS}}
    found = []
    for exact in (False, True):
        stages["s"]["exact"] = exact
        found.append(ingredients(StageContext(parse(json.loads(json.dumps(config))), "r", "t")))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("stage", "trainer"),
    [({"hook": False}, {}), ({"checkpoint_interval_min": 0}, {}), ({}, {"kind": "metriclogger"})],
)
def test_exact_without_what_it_needs_is_refused(
    disk: OnDisk, stage: dict[str, Any], trainer: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="exact: needs "):
        disk.config(trainer=trainer, exact=True, **stage)


@pytest.mark.parametrize("stage", [{"hook": False}, {"checkpoint_interval_min": 0}])
def test_without_them_nothing_is_saved(disk: OnDisk, stage: dict[str, Any]) -> None:
    assert stage_job(state.read(at(disk, **stage))).steps is None


def test_a_step_checkpoint_of_a_changed_training_is_archived_with_it(disk: OnDisk) -> None:
    """Also where nothing was logged yet: what it holds is another training's."""
    step(disk)
    disk.change(last_epoch=None, last_iteration=None)
    assert state.judge(state.read(at(disk, seed=7))).kind == "changed"
