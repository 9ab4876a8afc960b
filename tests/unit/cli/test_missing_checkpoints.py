"""What was trained is not there any more, or is inside of another training's work dir."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.toy_project import ToyByRate, ToyProject, make_checkout
from trainrelay.errors import CheckpointError, Refusal, TrainrelayError
from trainrelay.operations.restore import restore_stage
from trainrelay.records import AttemptRecord, Identity
from trainrelay.system.files import read_record, write_json
from trainrelay.trainers import TRAINERS
from trainrelay.training import state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.owners import owner_of
from trainrelay.training.plan import stage_plan

pytestmark = pytest.mark.process

MORE = {"epochs": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs; records name absolute paths, so each test gets it in the same place."""
    folder = tmp_path_factory.mktemp("missing")
    with pytest.MonkeyPatch.context() as patched:
        checkout = make_checkout(folder / "now", patched, 0.1, 0.2)
        ToyProject(checkout, folder / "now/runs").train()
    shutil.copytree(folder / "now", folder / "kept")
    return folder


@pytest.fixture
def toy(trained: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    monkeypatch.setitem(TRAINERS, "mmcv", ToyByRate(trained / "now/templates"))
    shutil.rmtree(trained / "now")
    shutil.copytree(trained / "kept", trained / "now")
    return ToyProject(trained / "now/checkout", trained / "now/runs")


def newest(toy: ToyProject) -> AttemptRecord:
    return list_attempts(toy.paths().folder)[-1]


def refusal(toy: ToyProject) -> str:
    with pytest.raises(Refusal) as refused:
        toy.train(**MORE)
    return str(refused.value)


def rewrite(toy: ToyProject, **changes: object) -> None:
    """The one attempt, recorded otherwise."""
    path = toy.paths().folder / "attempts/001/attempt.json"
    record = read_record(path, AttemptRecord)
    assert record
    write_json(path, record.model_copy(update=changes))


def unmounted(work_dir: Path) -> None:
    work_dir.rename(work_dir.with_name("on another disk"))


def looks_empty(work_dir: Path) -> None:
    unmounted(work_dir)
    work_dir.mkdir()


def deleted(work_dir: Path) -> None:
    for path in work_dir.glob("epoch_*.pth"):
        path.unlink()


def all_damaged(work_dir: Path) -> None:
    for path in work_dir.glob("epoch_*.pth"):
        path.write_bytes(path.read_bytes()[:300])


class TestGone:
    @pytest.mark.parametrize("away", [unmounted, looks_empty])
    def test_a_work_dir_that_is_not_there_is_not_trained_into_and_resumes_once_it_is_back(
        self, toy: ToyProject, away: Callable[[Path], None]
    ) -> None:
        work_dir = toy.paths().work_dir
        away(work_dir)
        before = sorted(toy.checkout.rglob("*"))
        said = refusal(toy)
        assert f"{work_dir} held the checkpoint of epoch 3 and does not now; put it back" in said
        assert stage_plan(StageContext(toy.config(**MORE), "r", "s")).action == "refuse"
        assert sorted(toy.checkout.rglob("*")) == before
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.with_name("on another disk").rename(work_dir)
        toy.train(**MORE)
        point = newest(toy).resumed_from
        assert point
        assert point.epoch == 3

    @pytest.mark.parametrize("away", [unmounted, looks_empty, deleted, all_damaged])
    def test_what_the_refusal_says_to_run_trains_from_scratch(
        self, toy: ToyProject, away: Callable[[Path], None]
    ) -> None:
        away(toy.paths().work_dir)
        command = "mv " + refusal(toy).rpartition(": mv ")[2]
        # Complete as it was asked for before.
        assert stage_plan(StageContext(toy.config(), "r", "s")).action == "nothing"
        subprocess.run(command, shell=True, check=True)
        toy.train(**MORE)
        assert (newest(toy).number, newest(toy).resumed_from, newest(toy).end) == (1, None, "done")
        assert toy.paths().folder.with_name("s.old").is_dir()

    def test_a_training_that_nobody_saw_end_is_known_by_the_owner_of_its_work_dir(
        self, toy: ToyProject
    ) -> None:
        """As after a power cut, with the disk of the work dir not mounted: no record tells of an epoch."""
        rewrite(
            toy, end=None, last_epoch=None, final_checkpoint=None, saved_epoch=None, supervisor_pid=2**22 + 1
        )
        unmounted(toy.paths().work_dir)
        assert "held this training and does not now" in refusal(toy)

    def test_attempts_that_never_trained_a_step_hold_nothing_up(self, toy: ToyProject) -> None:
        rewrite(toy, end="trainer-bug", last_epoch=None, final_checkpoint=None, saved_epoch=None)
        unmounted(toy.paths().work_dir)
        toy.train(**MORE)
        assert newest(toy).end == "done"

    def test_without_a_checkpoint_by_then_it_starts_from_scratch_in_its_own_work_dir(
        self, toy: ToyProject
    ) -> None:
        rewrite(toy, end="killed", last_epoch=2, final_checkpoint=None, saved_epoch=None)
        deleted(toy.paths().work_dir)
        toy.train(**MORE)
        assert (newest(toy).number, newest(toy).resumed_from) == (2, None)

    def test_without_the_newest_it_resumes_from_the_one_before_and_says_so(
        self, toy: ToyProject, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (toy.paths().work_dir / "epoch_3.pth").unlink()
        toy.train(**MORE)
        point = newest(toy).resumed_from
        assert point
        assert point.epoch == 2
        assert "not resumed from: the checkpoint of epoch 3, which is not there any more" in (
            " ".join(capsys.readouterr().err.split())
        )

    @pytest.mark.parametrize("away", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["gone", "empty"])
    def test_a_finished_training_without_its_last_checkpoint_trains_it_again(
        self, toy: ToyProject, away: Callable[[Path], object]
    ) -> None:
        last = toy.paths().work_dir / "epoch_3.pth"
        whole = last.read_bytes()
        away(last)
        planned = stage_plan(StageContext(toy.config(), "r", "s"))
        assert (planned.state, planned.action) == ("resumable", "resume")
        assert "warning: its checkpoint of epoch 3 is gone" in planned.reason
        assert "put it back, or epoch 3 and what follows are trained again" in planned.reason
        assert planned.launch.argv[-1].endswith("epoch_2.pth")
        toy.train()
        assert newest(toy).resumed_from
        assert (newest(toy).resumed_from.epoch, newest(toy).end) == (2, "done")
        toy.promote()
        assert toy.target.read_bytes() == whole

    def test_an_attempt_records_what_it_trains(self, toy: ToyProject) -> None:
        """By which `trainrelay doctor` knows an edited config where stage.json and train.json are gone."""
        assert newest(toy).signature == state.read(StageContext(toy.config(), "r", "s")).signature
        edited = toy.config(options={"optimizer.lr": 0.2})
        assert newest(toy).signature != state.read(StageContext(edited, "r", "s")).signature

    @pytest.mark.parametrize("stage", [{}, {"promotion": None}], ids=["copied", "verified only"])
    def test_once_it_is_promoted_its_last_checkpoint_may_go(self, toy: ToyProject, stage: dict) -> None:
        toy.promote(**stage)
        (toy.paths().work_dir / "epoch_3.pth").unlink()
        assert state.current(StageContext(toy.config(**stage), "r", "s")).reason == "3 of 3 epochs trained"

    def test_a_last_checkpoint_that_is_cut_short_is_seen_by_the_plan_and_has_a_way_out(
        self, toy: ToyProject
    ) -> None:
        last = toy.paths().work_dir / "epoch_3.pth"
        last.write_bytes(last.read_bytes()[:300])
        last.with_name("epoch_3.pth.broken").write_text("of an earlier time")
        (note,) = stage_plan(StageContext(toy.config(), "r", "s")).notes
        assert "epoch_3.pth is cut short" in note
        assert "neither resumed from nor promoted" in note
        with pytest.raises(CheckpointError, match="training resumes from the checkpoint before it") as caught:
            toy.train()
        subprocess.run(
            str(caught.value).rpartition("run: ")[2].partition(" and put")[0], shell=True, check=True
        )
        toy.train()
        assert newest(toy).end == "done"
        toy.promote()
        assert last.with_name("epoch_3.pth.broken").read_text() == "of an earlier time"

    def test_a_newest_checkpoint_that_is_cut_short_is_noted_where_training_continues(
        self, toy: ToyProject
    ) -> None:
        rewrite(toy, end="killed", final_checkpoint=None, saved_epoch=3, last_epoch=3)
        last = toy.paths().work_dir / "epoch_3.pth"
        last.write_bytes(last.read_bytes()[:300])
        notes = stage_plan(StageContext(toy.config(**MORE), "r", "s")).notes
        assert any("epoch_3.pth" in note and "is neither resumed from" in note for note in notes)

    def test_a_run_that_was_copied_elsewhere_resumes(self, toy: ToyProject) -> None:
        """With the times of its files kept, and with new ones."""
        for copy in (shutil.copy2, shutil.copy):
            there = toy.out.parent / f"machine {copy.__name__}"
            shutil.copytree(toy.checkout, there / "checkout", copy_function=copy)
            shutil.copytree(toy.out, there / "runs", copy_function=copy)
            moved = ToyProject(there / "checkout", there / "runs")
            moved.train(**MORE)
            point = newest(moved).resumed_from
            assert point
            assert point.epoch == 3


class TestEmptied:
    """A trainer that empties its work dir at its start: owner.json is gone with all else."""

    @pytest.fixture(params=[None, "work_dirs/s"], ids=["inside", "outside"])
    def fresh(self, toy: ToyProject, request: pytest.FixtureRequest) -> ToyProject:
        shutil.rmtree(toy.out)
        shutil.rmtree(toy.paths().work_dir)
        return ToyProject(toy.checkout, toy.out, request.param)

    def test_what_failed_before_its_first_checkpoint_is_tried_again(self, fresh: ToyProject) -> None:
        stage = {"options": {"habit": "empties-then-raises"}}
        with pytest.raises(TrainrelayError, match="attempt 3 ended: trainer-bug"):
            fresh.train(**stage)
        assert state.current(StageContext(fresh.config(**stage), "r", "s")).kind == "stopped"

    def test_what_it_trained_is_archived_and_restored(self, fresh: ToyProject) -> None:
        fresh.train(options={"habit": "empties"})
        owner = owner_of(fresh.paths().work_dir)
        assert owner
        assert owner.was_empty
        fresh.train()
        restore_stage(StageContext(fresh.config(options={"habit": "empties"}), "r", "s"))
        assert owner_of(fresh.paths().work_dir) == owner


def test_a_work_dir_inside_of_an_archived_folder_needs_no_owner(toy: ToyProject) -> None:
    inside = ToyProject(toy.checkout, toy.out.with_name("inside"), None)
    inside.train()
    (inside.paths().work_dir / "owner.json").unlink()
    inside.train(options={"optimizer.lr": 0.2})
    restore_stage(StageContext(inside.config(), "r", "s"))
    assert state.current(StageContext(inside.config(), "r", "s")).kind == "complete"


class TestNested:
    """Stage r/s of another config, with a work dir inside of ours."""

    @pytest.fixture
    def other(self, toy: ToyProject) -> ToyProject:
        return ToyProject(toy.checkout, toy.out.with_name("other runs"), "work_dirs/s/sub")

    def test_a_work_dir_inside_of_anothers_is_refused_before_anything_is_written(
        self, toy: ToyProject, other: ToyProject
    ) -> None:
        with pytest.raises(
            Refusal, match=r"s/sub is inside of the work dir of another training.*set another"
        ):
            other.train()
        assert stage_plan(StageContext(other.config(), "r", "s")).action == "refuse"
        assert not other.paths().work_dir.exists()
        (toy.checkout / "owner.json").write_text('{"owner": "of something else"}')
        ToyProject(toy.checkout, other.out, "work_dirs/other").train()

    def test_it_is_not_archived_with_ours_and_the_way_out_works(
        self, toy: ToyProject, other: ToyProject
    ) -> None:
        """Both trained before that was refused."""
        owned = toy.paths().work_dir / "owner.json"
        aside = owned.rename(owned.with_name("aside"))
        other.train()
        aside.rename(owned)
        other.promote()
        ours, nested = toy.paths().work_dir, other.paths().work_dir
        with pytest.raises(Refusal, match="sub is the work dir of another training") as refused:
            toy.train(options={"optimizer.lr": 0.2})
        assert owner_of(nested)
        subprocess.run(str(refused.value).partition("run: ")[2].partition(" (and")[0], shell=True, check=True)
        toy.train(options={"optimizer.lr": 0.2})
        assert ours.with_name("s.old-1").is_dir()
        moved = ToyProject(toy.checkout, other.out, "work_dirs/s.sub")
        assert state.current(StageContext(moved.config(), "r", "s")).kind == "complete"
        moved.train(**MORE)
        assert newest(moved).resumed_from


def test_a_launch_does_not_start_from_scratch_where_its_work_dir_vanishes_meanwhile(toy: ToyProject) -> None:
    """As a retry sees it, whose stage was looked at before."""
    from trainrelay.operations.train import stage_job  # noqa: PLC0415
    from trainrelay.supervise.resume import resume_point  # noqa: PLC0415

    job = stage_job(state.read(StageContext(toy.config(**MORE), "r", "s")))
    assert read_record(toy.paths().identity, Identity)
    looks_empty(toy.paths().work_dir)
    with pytest.raises(Refusal, match="held the checkpoint of epoch 3 and does not now"):
        resume_point(job)
