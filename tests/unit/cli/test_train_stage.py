"""`trainrelay train`: what it starts, and what it refuses to lose. The supervisor is a stand-in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from support.fake_slurm import FakeSlurm
from support.stage_on_disk import WEIGHTS, OnDisk
from trainrelay.config import SITE_VARIABLE
from trainrelay.errors import Interrupted, NoProgress, Refusal, TrainrelayError, UserError
from trainrelay.operations import train
from trainrelay.preflight.node import too_few_gpus
from trainrelay.records import Decision
from trainrelay.supervise import StageJob
from trainrelay.training import state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext


class Started(Exception):
    """The trainer would run now."""


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnDisk:
    def start(job: StageJob, *_: Any) -> None:
        raise Started(job.name)

    monkeypatch.setattr(train.supervise, "train", start)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


@pytest.mark.process
def test_a_fresh_stage_is_started(disk: OnDisk) -> None:
    with pytest.raises(Started):
        train.train_stage(StageContext(disk.config(), "r", "s"))


def test_a_complete_stage_has_its_train_json_written_again_and_is_not_started(disk: OnDisk) -> None:
    disk.train()
    train.train_stage(StageContext(disk.config(), "r", "s"))
    written = disk.paths.train.read_bytes()
    train.train_stage(StageContext(disk.config(), "r", "s"))
    assert disk.paths.train.read_bytes() == written


@pytest.mark.parametrize(("gone", "there"), [((), "epochs there: 2)"), ((2,), "epochs there: none)")])
def test_an_epoch_that_the_trainer_did_not_keep_is_named_with_those_that_it_did(
    disk: OnDisk, gone: tuple[int, ...], there: str
) -> None:
    """No file name is made up for it: the trainer's own may be another."""
    disk.train()
    for epoch in gone:
        disk.paths.work_dir.joinpath(f"epoch_{epoch}.pth").unlink()
    with pytest.raises(UserError, match=r"no checkpoint of epoch 1 is in .*/work_dir") as refused:
        train.train_stage(StageContext(disk.config(checkpoint={"epoch": 1}), "r", "s"))
    assert there in str(refused.value)
    assert "epoch_1" not in str(refused.value)


@pytest.mark.process
def test_a_changed_training_is_set_aside_before_another_is_started(disk: OnDisk) -> None:
    disk.train()
    with pytest.raises(Started):
        train.train_stage(StageContext(disk.config(seed=7), "r", "s"))
    assert not disk.checkpoint.exists()
    aside = disk.paths.folder.with_name("s.old-1")
    assert (aside / "work_dir/epoch_2.pth").read_bytes() == WEIGHTS
    assert (aside / "attempts/001/trainer.log").exists()


def test_a_changed_training_that_cost_more_than_the_guard_stays_where_it_is(disk: OnDisk) -> None:
    disk.train(hours=2.0)
    with pytest.raises(Refusal, match=r"16\.0 GPU-hours"):
        train.train_stage(StageContext(disk.config(seed=7), "r", "s"))
    assert disk.checkpoint.read_bytes() == WEIGHTS


@pytest.mark.process
def test_a_copy_of_a_training_that_is_gone_is_not_resumed_from(disk: OnDisk) -> None:
    """Where somebody removed stage.json and the work dir, nothing tells what it was trained from."""
    disk.train()
    kept = disk.paths.folder / "kept"
    kept.mkdir()
    shutil.move(disk.checkpoint, kept)
    shutil.rmtree(disk.paths.folder / "attempts")
    disk.paths.identity.unlink()
    with pytest.raises(Started):
        train.train_stage(StageContext(disk.config(), "r", "s"))
    assert not kept.exists()
    (aside,) = disk.paths.folder.glob("kept.old-*")
    assert (aside / disk.checkpoint.name).read_bytes() == WEIGHTS


def test_a_foreign_work_dir_is_refused_and_left_alone(disk: OnDisk) -> None:
    disk.train()
    disk.paths.identity.unlink()
    shutil.rmtree(disk.paths.folder / "attempts")
    with pytest.raises(Refusal, match="which was not created by trainrelay"):
        train.train_stage(StageContext(disk.config(), "r", "s"))
    assert disk.checkpoint.read_bytes() == WEIGHTS


def test_what_lies_set_aside_is_not_trained_once_more_without_a_persons_word(disk: OnDisk) -> None:
    disk.train()
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    with pytest.raises(
        Refusal, match=r"s\.old-1 holds exactly this training; to restore it, run: trainrelay restore r/s 1; "
    ):
        train.train_stage(StageContext(disk.config(), "r", "s"))


@pytest.mark.process
@pytest.mark.parametrize("error", [NoProgress("no backend works"), Refusal("no checkpoint is sound")])
def test_a_launch_that_a_person_must_mend_leaves_a_report(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch, error: TrainrelayError
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(train.supervise, "train", fail)
    with pytest.raises(type(error)):
        train.train_stage(StageContext(disk.config(), "r", "s"))
    assert (disk.base / "runs/r/report.html").exists()


@pytest.mark.process
def test_a_training_that_was_asked_to_stop_ends_without_reading_its_log(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.train()
    attempt = list_attempts(disk.paths.folder)[-1].model_copy(
        update={"end": "interrupted", "decision": Decision(step="stop")}
    )
    monkeypatch.setattr(train.supervise, "train", lambda *_: attempt)
    with pytest.raises(Interrupted, match="Run the same command again to resume"):
        train.train_stage(StageContext(disk.config(epochs=9), "r", "s"))
    assert not (disk.base / "runs/r/report.html").exists()


def test_a_stage_over_two_nodes_is_refused_outside_of_slurm_with_what_to_type(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    config = disk.config(resources={"gpu": 8, "nodes": 2})
    said = "is 2, and this is not a node of a Slurm job; run: snakemake --profile slurm"
    with pytest.raises(UserError, match=rf"^r/s: resources\.nodes {said}$"):
        train.train_stage(StageContext(config, "r", "s"))
    assert not disk.paths.folder.exists()


@pytest.mark.process
def test_a_stage_over_two_nodes_is_started_on_the_first_of_them(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeSlurm(disk.base / "slurm").install(monkeypatch)
    with pytest.raises(Started):
        train.train_stage(StageContext(disk.config(resources={"gpu": 8, "nodes": 2}), "r", "s"))


def test_a_machine_with_fewer_gpus_than_ranks_is_refused_before_anything_moves(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "too_few_gpus", too_few_gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    disk.train()
    with pytest.raises(UserError, match=r"^r/s: 8 ranks need a GPU each, and this machine shows [012] "):
        train.train_stage(StageContext(disk.config(seed=7), "r", "s"))
    assert disk.checkpoint.read_bytes() == WEIGHTS
    # A complete stage trains nothing, so it needs no GPU.
    train.train_stage(StageContext(disk.config(), "r", "s"))


@pytest.mark.process
def test_a_job_may_be_warned_as_early_as_the_site_asks(disk: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor asks a short one later; but Snakemake's profile may set another time limit."""
    (site := disk.base / "site.yaml").write_text("warn_s: 3600")
    monkeypatch.setenv(SITE_VARIABLE, str(site))
    at = StageContext(disk.config(resources={"gpu": 8, "runtime_min": 60}), "r", "s")
    assert train.stage_job(state.read(at)).warn_s == 3600


def test_fewer_cores_than_a_job_asked_for_are_said_and_refused_nowhere(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(Started):
        train.train_stage(StageContext(disk.config(resources={"gpu": 8, "cpus_per_gpu": 100_000}), "r", "s"))
    assert "800000 were asked for: data loading may be slow" in capsys.readouterr().err
