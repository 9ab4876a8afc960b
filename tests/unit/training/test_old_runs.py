"""What an earlier version trained goes on after an upgrade: nothing is trained again, nothing is lost."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.old_runs import make_old_project
from support.project import Project
from trainrelay import dag
from trainrelay.config import Config, load_config
from trainrelay.errors import Refusal
from trainrelay.operations import train
from trainrelay.records import RULES, Acceptance, Identity
from trainrelay.supervise import StageJob
from trainrelay.system.files import read_record
from trainrelay.training import state
from trainrelay.training.context import StageContext
from trainrelay.training.plan import plan, retrain_accepted
from trainrelay.training.signature import signature


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = make_old_project(tmp_path / "p")
    monkeypatch.chdir(project.folder)
    return project


def config_of(old: Project) -> Config:
    return load_config(old.folder / "config.yaml")


def planned(old: Project) -> dict[str, str]:
    plans = plan(config_of(old))
    assert not any(one.differences for one in plans)
    return {one.at.name: one.action for one in plans}


WAITING = {"driving/stage1": "nothing", "driving/stage2": "resume", "keypoints/pose": "resume"}


def test_an_upgrade_is_no_change_of_what_is_trained_or_half_trained(old: Project) -> None:
    assert planned(old) == WAITING


def test_a_change_is_seen_in_old_records_too(old: Project) -> None:
    old.configure(lambda data: driving(data)["stage1"]["options"].update({"optimizer.lr": 1e-4}))
    plans = {one.at.stage: one for one in plan(config_of(old))}
    assert plans["stage1"].action == "retrain"
    assert [str(one) for one in plans["stage1"].differences] == ["option optimizer.lr: (absent) -> 0.0001"]


def driving(data: dict[str, Any]) -> dict[str, Any]:
    stages: dict[str, Any] = data["runs"]["driving"]["stages"]
    return stages


def test_a_complete_training_is_left_as_it_is_and_asks_for_no_gpu(old: Project) -> None:
    """Snakemake compares the new params with those of its memory, and starts the rule once more."""
    old.configure(lambda data: driving(data)["stage1"]["resources"].update(gpu=2))
    config = config_of(old)
    assert dag.Plans(config, []).resources("stage1")["gpu"](SimpleNamespace(run="driving")) == 0
    train.train_stage(StageContext(config, "driving", "stage1"))
    assert old.attempts() == {"stage1": 1, "stage2": 1, "pose": 1}
    assert planned(old) == WAITING


def test_the_record_of_a_complete_training_holds_under_the_rules_of_its_time(old: Project) -> None:
    facts = state.read(StageContext(config_of(old), "driving", "stage1"))
    assert facts.train is not None
    assert facts.train.signature in facts.signatures
    assert facts.train.signature != signature(facts.ingredients, facts.asked)


def test_a_retraining_that_was_accepted_before_the_upgrade_stays_accepted(old: Project) -> None:
    facts = state.read(StageContext(config_of(old), "driving", "stage1"))
    assert facts.by_rules_1 is not None
    subject = signature(facts.by_rules_1, facts.asked)
    accepted = Acceptance(kind="retrain", subject=subject, reason="x", at_s=0.0)
    facts.paths.accepted.write_text(accepted.model_dump_json())
    assert retrain_accepted(state.read(StageContext(config_of(old), "driving", "stage1")))


class Started(Exception):
    """The trainer would run now."""


@pytest.fixture
def not_started(old: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The supervisor is a stand-in."""

    def start(job: StageJob, *_: Any) -> None:
        raise Started(job.name)

    monkeypatch.setattr(train.supervise, "train", start)
    return old


@pytest.mark.process
@pytest.mark.parametrize("where", ["driving/stage2", "keypoints/pose"])
def test_a_half_trained_one_goes_on_and_its_record_counts_by_the_rules_of_today(
    not_started: Project, where: str
) -> None:
    run, stage = where.split("/")
    with pytest.raises(Started):
        train.train_stage(StageContext(config_of(not_started), run, stage))
    facts = state.read(StageContext(config_of(not_started), run, stage))
    assert facts.identity is not None
    assert facts.identity.format == RULES
    assert facts.identity.ingredients == facts.ingredients
    assert (facts.done, facts.work_dirs.current) == (1, facts.paths.work_dir)
    assert planned(not_started) == WAITING
    assert not list(facts.paths.folder.parent.glob("*.old-*"))


@pytest.mark.process
def test_a_changed_old_training_keeps_the_record_of_its_rules_when_it_is_archived(
    not_started: Project,
) -> None:
    """What its work dir held before is not known, so that one stays where it is."""
    not_started.configure(lambda data: driving(data)["stage2"].update(seed=7))
    with pytest.raises(Refusal, match=r"may have been in use before .*set another work_dir in the config"):
        train.train_stage(StageContext(config_of(not_started), "driving", "stage2"))
    not_started.configure(lambda data: driving(data)["stage2"].update(work_dir="work_dirs/other"))
    with pytest.raises(Started):
        train.train_stage(StageContext(config_of(not_started), "driving", "stage2"))
    formats = [
        identity.format
        for name in ("stage2.old-1", "stage2")
        if (identity := read_record(not_started.folder / f"runs/driving/{name}/stage.json", Identity))
    ]
    assert formats == [1, RULES]
    not_started.configure(lambda data: driving(data)["stage2"].pop("seed"))
    twin = state.archived_twin(state.read(StageContext(config_of(not_started), "driving", "stage2")))
    assert twin is not None
    assert twin.folder.name == "stage2.old-1"


@pytest.mark.process
def test_once_it_went_on_what_says_the_inherited_value_is_no_change(
    not_started: Project,
) -> None:
    with pytest.raises(Started):
        train.train_stage(StageContext(config_of(not_started), "driving", "stage2"))
    config = not_started.folder / "workflow/demo/driving/projects/configs/stage2_e2e/e2e.py"
    config.write_text(config.read_text() + "data = dict(samples_per_gpu=4, train=dict(seed=0))\n")
    assert planned(not_started)["driving/stage2"] == "resume"
    config.write_text(config.read_text().replace("weight_decay=0.01", "weight_decay=0.02"))
    (stage2,) = (one for one in plan(config_of(not_started)) if one.at.stage == "stage2")
    assert [str(one) for one in stage2.differences] == ["config: optimizer.weight_decay: 0.01 -> 0.02"]
