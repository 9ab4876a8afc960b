"""Where an attempt starts, and the proof of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from support.supervising import toy_job
from trainrelay.errors import Refusal
from trainrelay.records import ResumePoint
from trainrelay.supervise.resume import ResumeProof, lay_out, prepared, resume_point
from trainrelay.trainers import TRAINERS, ResumeSeen, ScriptSettings, StepSeen

POINT = ResumePoint(path="/data/epoch_2.pth", epoch=2, iteration=6)


def step(epoch: int) -> StepSeen:
    return StepSeen(epoch, 1, 3, 1.0, None)


def saved(job_dir: Path, templates: Path, *epochs: int) -> Path:
    work_dir = toy_job(job_dir, templates).work_dirs.current
    work_dir.mkdir(parents=True)
    for epoch in epochs:
        shutil.copyfile(templates / f"epoch_{epoch}.pth", work_dir / f"epoch_{epoch}.pth")
    return work_dir


def test_stage_without_checkpoints_starts_from_its_beginning(tmp_path: Path, templates: Path) -> None:
    """No work dir or an empty one: nothing to resume, nothing to say."""
    assert resume_point(toy_job(tmp_path, templates)) == (None, [])


def test_newest_checkpoint_is_the_resume_point(tmp_path: Path, templates: Path) -> None:
    """Its epoch and iteration are those inside the file."""
    work_dir = saved(tmp_path, templates, 1, 2)
    point, skipped = resume_point(toy_job(tmp_path, templates))
    assert point == ResumePoint(path=str(work_dir / "epoch_2.pth"), epoch=2, iteration=6)
    assert skipped == []


def test_truncated_checkpoint_is_passed_over_and_said(tmp_path: Path, templates: Path) -> None:
    """The one before is taken, and the sentence names the one that was not."""
    work_dir = saved(tmp_path, templates, 1, 2)
    newest = work_dir / "epoch_2.pth"
    newest.write_bytes(newest.read_bytes()[:200])
    point, skipped = resume_point(toy_job(tmp_path, templates))
    assert point is not None
    assert point.epoch == 1
    assert len(skipped) == 1
    assert "epoch_2.pth" in skipped[0]


def test_a_script_that_looks_for_its_checkpoint_finds_the_one_to_resume_from(
    tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nanoGPT: its one file was cut short while it was saved, and a copy is kept elsewhere."""
    work_dir, job = saved(tmp_path, templates, 1, 2), toy_job(tmp_path, templates)
    kept = job.work_dirs.kept
    assert kept
    kept.mkdir(parents=True)
    whole = (work_dir / "epoch_2.pth").read_bytes()
    (kept / "epoch_2.pth").write_bytes(whole)
    for torn in ("epoch_2.pth", "epoch_3.pth"):
        (work_dir / torn).write_bytes(whole[:200])
    torch.save([1, 2], work_dir / "cache.pt")  # the trainer's, and no checkpoint of it
    monkeypatch.setattr(job.trainer, "is_called_so", lambda path: path.suffix == ".pth")
    point, _ = resume_point(job)
    assert point
    assert point.path == str(kept / "epoch_2.pth")
    moved = lay_out(job, point)
    assert (work_dir / "epoch_2.pth").read_bytes() == whole
    assert (work_dir / "epoch_2.pth").stat().st_mtime_ns == (kept / "epoch_2.pth").stat().st_mtime_ns
    there = {"cache.pt", "epoch_1.pth", "epoch_2.pth", "epoch_2.pth.damaged", "epoch_3.pth.damaged"}
    assert {path.name for path in work_dir.iterdir()} == there
    assert len(moved) == 3
    again, _ = resume_point(job)
    assert again
    assert (again.path, lay_out(job, again)) == (str(work_dir / "epoch_2.pth"), [])


def test_folders_behind_the_resume_point_are_put_aside(tmp_path: Path, templates: Path) -> None:
    """Nothing is saved into what a kill left; accelerate refuses to save to a folder that is there. Were it
    beside them, the Trainer would count it by its name as the newest, and remove the valid one."""
    settings = ScriptSettings(command="x {entry}", checkpoints="checkpoint-{epoch}/")
    job = toy_job(tmp_path, templates, trainer=TRAINERS["script"].of(settings, "t.py"))
    work_dir = job.work_dirs.current
    net = torch.nn.Linear(2, 2)
    whole = {"model": net.state_dict(), "optimizer": torch.optim.SGD(net.parameters(), 1.0).state_dict()}
    for name in ("checkpoint-1", "checkpoint-2", "checkpoint-3", "checkpoint-4", "other-5"):
        (work_dir / name).mkdir(parents=True)
        for part, value in whole.items():
            torch.save(value, work_dir / name / f"{part}.pt")
    (work_dir / "checkpoint-3/optimizer.pt").unlink()
    (work_dir / "checkpoint-4/optimizer.pt").write_bytes(b"PK")
    point, _ = resume_point(job)
    assert point
    assert point.path == str(work_dir / "checkpoint-2")
    assert len(prepared(job, point)) == 2
    left = {"checkpoint-1", "checkpoint-2", "other-5", "trainrelay.damaged"}
    assert {path.name for path in work_dir.iterdir()} == left
    aside = {path.name for path in (work_dir / "trainrelay.damaged").iterdir()}
    assert aside == {"checkpoint-3.damaged", "checkpoint-4.damaged"}
    assert prepared(job, point) == prepared(job, None) == []


@pytest.mark.parametrize(("name", "spoiled"), [("export-7b", "training_args.bin"), ("checkpoint-30", "")])
def test_a_folder_that_may_be_whole_is_not_put_aside(
    tmp_path: Path, templates: Path, name: str, spoiled: str
) -> None:
    """An export, which lacks what a checkpoint of the Trainer has; one with a link, which is not followed."""
    settings = ScriptSettings(command="x {entry}", checkpoints="*/", resume="--resume {checkpoint}")
    job = toy_job(tmp_path, templates, trainer=TRAINERS["script"].of(settings, "t.py", 30))
    work_dir, net = job.work_dirs.current, torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), 1.0).state_dict()
    for count, folder in (
        (10, work_dir / "checkpoint-10"),
        (20, work_dir / "checkpoint-20"),
        (30, work_dir / name),
    ):
        folder.mkdir(parents=True)
        torch.save({"model": net.state_dict(), "optimizer": optimizer, "iter": count}, folder / "state.pt")
    if spoiled:
        (work_dir / name / spoiled).write_bytes(b"x")
    else:
        (work_dir / name / "config.json").symlink_to("../config.json")
    point, skipped = resume_point(job)
    assert point
    assert (Path(point.path).name, len(skipped)) == ("checkpoint-20", 1)
    assert "trainer_state.json" in skipped[0] if spoiled else "the link config.json" in skipped[0]
    assert prepared(job, point) == []


@pytest.mark.parametrize("resume", ["--resume {checkpoint}", ""])
def test_a_folder_that_is_named_as_the_others_and_has_no_count_is_put_aside(
    tmp_path: Path, templates: Path, resume: str
) -> None:
    """Whose first files are weights: the Trainer would take it for its newest checkpoint. Weights that were
    meant to be saved alone, before the one to resume from, are not saved again, and stay."""
    settings = ScriptSettings(command="x {entry}", checkpoints="checkpoint-*/", resume=resume)
    job = toy_job(tmp_path, templates, trainer=TRAINERS["script"].of(settings, "t.py", 30))
    work_dir, net = job.work_dirs.current, torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), 1.0).state_dict()
    for second, name in enumerate(("5", "10", "20", "30", "best", "5-ema"), 1):
        (folder := work_dir / f"checkpoint-{name}").mkdir(parents=True)
        torch.save(net.state_dict(), folder / "model.pt")
        if name in ("10", "30"):
            torch.save(optimizer, folder / "optimizer.pt")
        if name == "10":
            (folder / "state.json").write_text('{"global_step": 10}')
        for path in (*folder.iterdir(), folder):
            os.utime(path, (second, second))
    point, skipped = resume_point(job)
    assert point
    assert point.path == str(work_dir / "checkpoint-10")
    lacks = {"checkpoint-20": "lacks iteration and optimizer", "checkpoint-30": "lacks iteration"}
    assert sorted(skipped) == [f"{work_dir / name} {why}" for name, why in lacks.items()]
    assert len(prepared(job, point)) == 2
    left = {"checkpoint-5", "checkpoint-10", "checkpoint-best", "checkpoint-5-ema", "trainrelay.damaged"}
    assert {path.name for path in work_dir.iterdir()} == left


def test_only_unsound_checkpoints_are_refused(tmp_path: Path, templates: Path) -> None:
    """Starting over would lose the training in silence; the refusal says what to type."""
    work_dir = saved(tmp_path, templates)
    (work_dir / "epoch_1.pth").write_bytes(b"PK")
    with pytest.raises(Refusal, match=r"toy/stage1: none of the 1 checkpoints.*mv .*unsound"):
        resume_point(toy_job(tmp_path, templates))


@pytest.mark.process
def test_what_the_refusal_says_to_type_gives_up_our_copy_too(tmp_path: Path, templates: Path) -> None:
    """Else the next start would be refused in the same words."""
    work_dir, job = saved(tmp_path, templates), toy_job(tmp_path, templates)
    assert job.work_dirs.kept is not None
    job.work_dirs.kept.mkdir(parents=True)
    for folder in (work_dir, job.work_dirs.kept):
        (folder / "epoch_1.pth").write_bytes(b"PK")
    with pytest.raises(Refusal, match=r"none of the 2 checkpoints") as refused:
        resume_point(job)
    subprocess.run(str(refused.value).partition("give it up with: ")[2], shell=True, check=True)
    assert resume_point(job) == (None, [])


def test_resumed_line_proves_the_resume() -> None:
    """After it, every step is right; without a wish to resume there is nothing to prove."""
    proof = ResumeProof(POINT)
    assert [proof.see(ResumeSeen(2, 6)), proof.see(step(3)), proof.missing()] == [None, None, None]
    free = ResumeProof(None)
    assert [free.see(step(1)), free.missing()] == [None, None]


def test_step_before_the_resumed_line_is_a_start_from_zero() -> None:
    """Even a step of the right epoch proves nothing by itself."""
    for epoch in (1, 3):
        problem = ResumeProof(POINT).see(step(epoch))
        assert problem is not None
        assert f"trained epoch {epoch}, iteration 1" in problem


def test_resume_at_another_epoch_is_no_resume() -> None:
    """The trainer took another checkpoint than it was given."""
    problem = ResumeProof(POINT).see(ResumeSeen(1, 3))
    assert problem is not None
    assert "asked to resume after epoch 2, but resumed after epoch 1" in problem


def test_silence_about_the_resume_is_told_at_the_end() -> None:
    """A training that never said it resumed is not believed."""
    assert "no line of its log shows whether it did" in (ResumeProof(POINT).missing() or "")


def test_a_trainer_without_a_line_for_it_proves_a_resume_by_its_first_epoch() -> None:
    """Asked to go on after epoch 2, the epoch it trains first is the third."""
    proof = ResumeProof(POINT, by_epoch=True)
    assert proof.see(step(3)) is None
    assert proof.missing() is None
    assert proof.see(step(4)) is None


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_any_other_first_epoch_is_no_proof(epoch: int) -> None:
    said = ResumeProof(POINT, by_epoch=True).see(step(epoch))
    assert said is not None
    assert f"trained epoch {epoch}" in said


def test_the_first_epoch_proves_nothing_where_a_line_must_come() -> None:
    assert ResumeProof(POINT).see(step(3)) is not None


@pytest.mark.parametrize(
    ("reached", "base_known", "fits"),
    [(0, False, True), (1, False, True), (2, False, False), (2, True, True)],
)
def test_the_first_epoch_again_is_no_resume_once_a_later_one_was_seen(
    reached: int, base_known: bool, fits: bool
) -> None:
    """From a checkpoint numbered 0, which may have been saved within the first epoch or after it."""
    point = POINT.model_copy(update={"epoch": 0})
    said = ResumeProof(point, by_epoch=True, base_known=base_known, reached=reached).see(step(1))
    assert (said is None) == fits
    assert fits or "set epoch_base: 0" in (said or "")
    assert ResumeProof(point, by_epoch=True, base_known=False, reached=reached).see(step(2)) is None
