"""A change is made, trained to its end, and reverted: whose checkpoint is promoted then?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.toy_project import ToyByRate, ToyProject, arguments, make_checkout
from trainrelay.cli import common
from trainrelay.cli.stage import accept
from trainrelay.errors import Refusal, UserError
from trainrelay.operations import restore, train
from trainrelay.records import Identity, Owner, Takeover
from trainrelay.supervise import acquire
from trainrelay.system.files import read_record, sha256_of, write_json
from trainrelay.trainers import TRAINERS
from trainrelay.training import archiving, state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.owners import claim
from trainrelay.training.plan import stage_plan

pytestmark = pytest.mark.process

CHANGED = {"options": {"optimizer.lr": 0.2}}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project fresh, trained, and changed and trained again; records name absolute paths."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patched:
        toy = ToyProject(make_checkout(folder / "fresh", patched, 0.1, 0.2), folder / "fresh/runs")
        (folder / "fresh").rename(folder / "now")
        toy = ToyProject(folder / "now/checkout", folder / "now/runs")
        for name, options in (("fresh", None), ("trained", {}), ("reverted", CHANGED)):
            patched.setitem(TRAINERS, "mmcv", ToyByRate(folder / "now/templates"))
            if options is not None:
                toy.train(**options)
            shutil.copytree(folder / "now", folder / name)
    return folder


def brought_back(kept: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    monkeypatch.setitem(TRAINERS, "mmcv", ToyByRate(kept / "now/templates"))
    shutil.rmtree(kept / "now")
    shutil.copytree(kept / name, kept / "now")
    return ToyProject(kept / "now/checkout", kept / "now/runs")


@pytest.fixture
def fresh(kept: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    return brought_back(kept, "fresh", monkeypatch)


@pytest.fixture
def toy(kept: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    """Trained to its end."""
    return brought_back(kept, "trained", monkeypatch)


@pytest.fixture
def reverted(kept: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    """Trained, changed, trained to the end again, and the change reverted."""
    return brought_back(kept, "reverted", monkeypatch)


def weights(toy: ToyProject, rate: float, epoch: int = 3) -> str:
    return sha256_of(toy.checkout.parent / f"templates/{rate}/epoch_{epoch}.pth").sha256


def final(toy: ToyProject) -> Path:
    return toy.paths().work_dir / "epoch_3.pth"


def kind(toy: ToyProject, **stage: object) -> str:
    return state.current(StageContext(toy.config(**stage), "r", "s")).kind


def put_there(toy: ToyProject, rate: float) -> None:
    """Another training's file under the name of the final checkpoint."""
    shutil.copy(toy.checkout.parent / f"templates/{rate}/epoch_3.pth", final(toy))


def snapshot(toy: ToyProject) -> dict[str, str]:
    """What each file below the project holds, the leases apart."""
    folders = (toy.out, toy.checkout)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): sha256_of(path).sha256 for path in files if ".s" not in path.parts}


def test_one_variable_names_a_training_over_all_its_attempts_and_another_one_from_scratch(
    reverted: ToyProject,
) -> None:
    """A logger's run id: the same after a resume, new where the series begins again."""
    reverted.train(**CHANGED, epochs=4)
    named = [
        [attempt.env[train.TRAINING_VARIABLE] for attempt in list_attempts(folder)]
        for folder in (reverted.paths().folder, reverted.paths().folder.with_name("s.old-1"))
    ]
    (first, again), (old,) = named
    assert first == again != old


class TestRevertedByHand:
    """As the two `mv` commands of an earlier version moved it, and as half of them does."""

    def test_the_stage_folder_alone_is_refused_with_the_verb_that_helps(self, reverted: ToyProject) -> None:
        folder = reverted.paths().folder
        folder.rename(folder.with_name("s.old-2"))
        folder.with_name("s.old-1").rename(folder)
        with pytest.raises(Refusal, match="run: trainrelay restore r/s 2"):
            reverted.train()
        with pytest.raises(UserError):
            reverted.promote()
        assert not reverted.target.exists()
        restore.restore_stage(StageContext(reverted.config(), "r", "s"), 2)
        restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        reverted.train()
        reverted.promote()
        assert sha256_of(reverted.target).sha256 == weights(reverted, 0.1)

    def test_without_owners_the_recorded_sha256_still_refuses_it(self, reverted: ToyProject) -> None:
        """As the records of commit 4416c26 are."""
        folder = reverted.paths().folder
        folder.rename(folder.with_name("s.old-2"))
        folder.with_name("s.old-1").rename(folder)
        (reverted.paths().work_dir / "owner.json").unlink()
        identity = read_record(folder / "stage.json", Identity)
        write_json(folder / "stage.json", identity.model_copy(update={"owner": None}))  # type: ignore[union-attr]
        with pytest.raises(Refusal, match=r"epoch_3\.pth is not the checkpoint that was recorded"):
            reverted.train()
        assert not reverted.paths().train.with_name("checkpoint.json").exists()


class TestAnotherFile:
    def test_is_refused_at_train_promote_and_resume(self, toy: ToyProject) -> None:
        put_there(toy, 0.2)
        for refused in (toy.train, toy.promote, lambda: toy.train(epochs=4)):
            with pytest.raises(UserError, match=r"epoch_3\.pth"):
                refused()
        assert not toy.target.exists()

    def test_that_train_json_tells_of_is_not_promoted(self, toy: ToyProject) -> None:
        """train.json as an earlier version wrote it, from the file that was there."""
        put_there(toy, 0.2)
        facts = state.read(StageContext(toy.config(), "r", "s"))
        assert facts.train
        file = facts.train.final_checkpoint.file.model_copy(update={"sha256": weights(toy, 0.2)})
        found = facts.train.final_checkpoint.model_copy(update={"file": file})
        write_json(facts.paths.train, facts.train.model_copy(update={"final_checkpoint": found}))
        with pytest.raises(Refusal, match="not the checkpoint that was recorded"):
            toy.promote(gate=False)

    def test_is_promoted_once_the_user_accepts_it_as_it_is(
        self, toy: ToyProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_there(toy, 0.2)
        monkeypatch.setattr(common, "configured", lambda _: toy.config())
        accept(arguments(reason="it is the better one", retrain=False))
        toy.train()
        toy.promote()
        assert sha256_of(toy.target).sha256 == weights(toy, 0.2)

    def test_a_checkpoint_taken_at_an_earlier_epoch_is_not_what_more_epochs_promote(
        self, toy: ToyProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_there(toy, 0.2)
        monkeypatch.setattr(common, "configured", lambda _: toy.config())
        accept(arguments(reason="good enough", retrain=False))
        toy.train(epochs=4)
        toy.promote(epochs=4)
        assert sha256_of(toy.target).sha256 == weights(toy, 0.1, epoch=4)


def test_a_next_stage_does_not_start_from_what_is_not_recorded(toy: ToyProject) -> None:
    toy.promote()
    config = toy.config()
    second = config.runs["r"].stages["s"].model_copy(update={"init_from": "s", "work_dir": None})
    stages = {**config.runs["r"].stages, "t": second.model_copy(update={"promotion": None})}
    run = config.runs["r"].model_copy(update={"stages": stages})
    chain = config.model_copy(update={"runs": {"r": run}})
    record = toy.paths().folder / "attempts/001/attempt.json"
    record.write_text(record.read_text().replace(weights(toy, 0.1), weights(toy, 0.2)))
    with pytest.raises(Refusal, match=r"r/s: .* is not the checkpoint that was recorded"):
        train.train_stage(StageContext(chain, "r", "t"))
    assert not (toy.out / "r/t/stage.json").exists()


def test_promote_refuses_a_training_that_the_config_no_longer_asks_for(toy: ToyProject) -> None:
    with pytest.raises(Refusal, match=r"optimizer\.lr: 0\.1 -> 0\.2|optimizer\.lr: \(absent\) -> 0\.2"):
        toy.promote(gate=False, **CHANGED)
    (toy.checkout / "a.py").rename(toy.checkout / "b.py")  # not readable here: nothing is known to differ
    toy.promote()


def test_promote_names_the_archived_training_that_the_config_asks_for(reverted: ToyProject) -> None:
    with pytest.raises(Refusal, match=r"run: trainrelay restore r/s 1$"):
        reverted.promote()


class TestRestore:
    def test_brings_folder_and_work_dir_back_together(
        self, reverted: ToyProject, capsys: pytest.CaptureFixture[str]
    ) -> None:
        planned = stage_plan(StageContext(reverted.config(), "r", "s"))
        assert "run: trainrelay restore r/s 1;" in planned.refused[0]
        restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        said, told = capsys.readouterr()
        assert f"restored {reverted.paths().folder}.old-1 (what the config asks for now)" in said
        assert said.count(" -> ") == 4
        assert "r/s is now complete" in told
        reverted.train()
        reverted.promote()
        assert sha256_of(reverted.target).sha256 == weights(reverted, 0.1)

    def test_and_back_again(self, reverted: ToyProject) -> None:
        before = snapshot(reverted)
        restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        assert kind(reverted, **CHANGED) == "changed"
        restore.restore_stage(StageContext(reverted.config(**CHANGED), "r", "s"))
        assert kind(reverted, **CHANGED) == "complete"
        assert sorted(before.values()) == sorted(snapshot(reverted).values())

    def test_a_work_dir_inside_the_stage_folder_comes_along(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = ToyProject(make_checkout(tmp_path, monkeypatch, 0.1, 0.2), tmp_path / "runs", work_dir=None)
        toy.train()
        toy.train(**CHANGED)
        restore.restore_stage(StageContext(toy.config(), "r", "s"))
        toy.train()
        assert sha256_of(final(toy)).sha256 == weights(toy, 0.1)

    def test_the_work_dirs_of_takeovers_move_too(self, toy: ToyProject) -> None:
        paths = toy.paths()
        identity = read_record(paths.identity, Identity)
        assert identity
        assert identity.owner
        taken = {"takeovers": (Takeover(token=2, after_epoch=2),)}
        write_json(paths.identity, identity.model_copy(update=taken))
        own = paths.work_dir.with_name("s.taken-2")
        claim(own, identity.owner, paths.folder)
        final(toy).rename(own / "epoch_3.pth")
        toy.train(**CHANGED)
        names = sorted(path.name for path in paths.work_dir.parent.iterdir())
        assert names == ["s.old-1", "s.taken-2", "s.taken-2.old-1"]
        restore.restore_stage(StageContext(toy.config(), "r", "s"))
        names = sorted(path.name for path in paths.work_dir.parent.iterdir())
        assert names == ["s", "s.taken-2", "s.taken-2.old-2"]
        toy.train()
        toy.promote()
        assert sha256_of(toy.target).sha256 == weights(toy, 0.1)

    def test_what_is_not_the_recorded_checkpoint_is_not_restored(self, reverted: ToyProject) -> None:
        archived = final(reverted).parent.with_name("s.old-1") / "epoch_3.pth"
        shutil.copy(final(reverted), archived)
        before = snapshot(reverted)
        with pytest.raises(Refusal, match=r"is not the recorded final checkpoint of .*nothing was moved"):
            restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        assert snapshot(reverted) == before

    def test_a_work_dir_that_is_not_found_is_named_by_its_place(self, reverted: ToyProject) -> None:
        archived = final(reverted).parent.with_name("s.old-1")
        archived.rename(archived.with_name("away"))
        with pytest.raises(UserError, match=r"was not found at \S+/s\.old-1, so .* back to that place$"):
            restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        file = reverted.paths().folder.with_name("s.old-1") / reverted.paths().identity.name
        identity = read_record(file, Identity)
        assert identity
        write_json(file, identity.model_copy(update={"work_dir": "/else/s"}))
        with pytest.raises(UserError, match=r"to that place, or set work_dir .* was trained: /else/s$"):
            restore.restore_stage(StageContext(reverted.config(), "r", "s"))

    def test_nothing_moves_while_something_trains(self, reverted: ToyProject) -> None:
        before = snapshot(reverted)
        with (
            acquire(reverted.paths().supervision, "r/s", print, lambda: False),
            pytest.raises(Refusal, match="r/s"),
        ):
            restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        assert snapshot(reverted) == before

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_a_move_that_fails_undoes_those_before_it(
        self, reverted: ToyProject, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = snapshot(reverted)
        monkeypatch.setattr(Path, "rename", failing(number, OSError(5, "Input/output error")))
        with pytest.raises(UserError, match="Input/output error; everything is where it was"):
            restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        assert snapshot(reverted) == before

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_one_that_is_killed_is_finished_by_what_the_next_start_says(
        self, reverted: ToyProject, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", failing(number, Killed()))
            with pytest.raises(Killed):
                restore.restore_stage(StageContext(reverted.config(), "r", "s"))
        for _ in range(3):
            planned = stage_plan(StageContext(reverted.config(), "r", "s"))
            told = " ".join([planned.reason, *planned.refused]).partition("trainrelay restore r/s ")[2]
            if told:
                restore.restore_stage(StageContext(reverted.config(), "r", "s"), int(told[0]))
        assert sha256_of(final(reverted)).sha256 == weights(reverted, 0.1)
        assert kind(reverted) == "complete"

    def test_of_what_the_config_does_not_ask_for_says_so_and_how_to_undo_it(
        self, reverted: ToyProject, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """And nothing tells Snakemake that it is promoted, or it would have nothing to do."""
        reverted.promote(**CHANGED)
        restore.restore_stage(StageContext(reverted.config(**CHANGED), "r", "s"), 1)
        said = "is not the training that the config asks for now (config: optimizer.lr: 0.1 -> 0.2)"
        undo = "revert that, or run: trainrelay restore r/s 2"
        assert f"r/s {said}; {undo}" in capsys.readouterr().err
        restore.restore_stage(StageContext(reverted.config(**CHANGED), "r", "s"), 2)
        assert not reverted.paths().checkpoint.exists()

    def test_names_what_there_is(self, fresh: ToyProject) -> None:
        with pytest.raises(UserError, match="r/s: no training of this stage is archived"):
            restore.restore_stage(StageContext(fresh.config(), "r", "s"))


class Killed(BaseException):
    """No code of ours runs after this."""


def failing(number: int, error: BaseException) -> Callable[[Path, Path], Path]:
    """Path.rename, of which one call does not succeed."""
    real, calls = Path.rename, iter(range(1, 99))

    def rename(source: Path, target: Path) -> Path:
        if next(calls) == number:
            raise error
        return real(source, target)

    return rename


class TestArchiving:
    def test_a_link_that_leads_nowhere_keeps_its_name(self, toy: ToyProject) -> None:
        link = toy.paths().work_dir.with_name("s.old-1")
        link.symlink_to("a full disk that is not mounted")
        toy.train(**CHANGED)
        assert link.is_symlink()
        assert owner(link.with_name("s.old-2"))

    def test_a_work_dir_of_before_owners_reached_over_a_link_is_the_same(self, toy: ToyProject) -> None:
        (toy.paths().work_dir / "owner.json").unlink()
        identity = read_record(toy.paths().identity, Identity)
        assert identity
        other = toy.checkout / "link"
        other.symlink_to(toy.paths().work_dir.parent)
        write_json(
            toy.paths().identity,
            identity.model_copy(update={"owner": None, "work_dir": str(other / toy.paths().work_dir.name)}),
        )
        assert kind(toy, epochs=4) == "resumable"

    def test_one_that_is_killed_in_between_is_explained(
        self, toy: ToyProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", failing(2, Killed()))
            with pytest.raises(Killed):
                archiving.carry_out(archiving.moves_away(state.read(StageContext(toy.config(), "r", "s"))))
        with pytest.raises(Refusal, match=r"belongs to the archived .*run: trainrelay restore r/s 1"):
            toy.train(**CHANGED)
        restore.restore_stage(StageContext(toy.config(**CHANGED), "r", "s"), 1)
        toy.train(**CHANGED)
        assert sha256_of(final(toy)).sha256 == weights(toy, 0.2)

    def test_a_folder_that_held_other_things_is_never_moved_and_the_way_out_works(
        self, fresh: ToyProject
    ) -> None:
        work_dir = fresh.paths().work_dir
        (work_dir / "dataset").mkdir(parents=True)
        fresh.train()
        planned = stage_plan(StageContext(fresh.config(**CHANGED), "r", "s"))
        assert planned.action == "refuse"
        assert "was in use before this training" in planned.refused[0]
        with pytest.raises(Refusal, match="set another work_dir"):
            fresh.train(**CHANGED)
        fresh.promote()
        fresh.train(epochs=4)
        other = {"work_dir": "work_dirs/other"}
        fresh.train(**CHANGED, **other)
        assert (work_dir / "dataset").is_dir()
        assert (work_dir / "epoch_4.pth").exists()
        restore.restore_stage(StageContext(fresh.config(epochs=4), "r", "s"))
        assert kind(fresh, epochs=4) == "complete"

    @pytest.mark.long
    def test_so_does_moving_it_by_hand(self, fresh: ToyProject) -> None:
        work_dir = fresh.paths().work_dir
        (work_dir / "dataset").mkdir(parents=True)
        fresh.train()
        work_dir.rename(work_dir.with_name("s.old-1"))
        fresh.train(**CHANGED)
        restore.restore_stage(StageContext(fresh.config(), "r", "s"))
        assert kind(fresh) == "complete"

    def test_an_owner_of_before_is_unknown_outside_of_the_stage_folder(self, toy: ToyProject) -> None:
        (toy.paths().work_dir / "owner.json").unlink()
        with pytest.raises(Refusal, match="may have been in use before"):
            toy.train(**CHANGED)

    def test_a_change_does_not_train_into_a_work_dir_with_checkpoints_of_unknown_origin(
        self, toy: ToyProject
    ) -> None:
        other = toy.checkout / "work_dirs/other"
        other.mkdir()
        shutil.copy(final(toy), other / "epoch_3.pth")
        with pytest.raises(Refusal, match="was not created by trainrelay"):
            toy.train(**CHANGED, work_dir="work_dirs/other")
        assert toy.paths().folder.exists()


def owner(folder: Path) -> Owner | None:
    return read_record(folder / "owner.json", Owner)


def second_copy(toy: ToyProject) -> ToyProject:
    """A second working copy with an `out` of its own, one checkout."""
    return ToyProject(toy.checkout, toy.out.with_name("other"))


class TestOwner:
    def test_a_second_working_copy_neither_trains_into_it_nor_promotes_it(self, toy: ToyProject) -> None:
        before, other = snapshot(toy), second_copy(toy)
        with pytest.raises(Refusal) as refused:
            other.train(**CHANGED)
        assert str(toy.paths().folder) in str(refused.value)
        assert "set another work_dir for this stage" in str(refused.value)
        assert snapshot(toy) == before
        other.train(work_dir="work_dirs/other", **CHANGED)

    def test_of_two_that_start_at_once_one_is_refused_and_can_go_elsewhere(
        self, fresh: ToyProject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other's owner.json appears after ours was looked for."""

        real = train.claim

        def late(folder: Path, owner_id: str, ours: Path) -> None:
            real(folder, "f" * 32, second_copy(fresh).paths().folder)
            real(folder, owner_id, ours)

        monkeypatch.setattr(train, "claim", late)
        with pytest.raises(Refusal, match="belongs to another training"):
            fresh.train()
        assert kind(fresh) == "foreign"
        assert kind(fresh, work_dir="work_dirs/other") == "resumable"

    def test_it_is_known_before_the_first_checkpoint_and_a_moved_folder_stays_ours(
        self, toy: ToyProject
    ) -> None:
        mine = owner(toy.paths().work_dir)
        identity = read_record(toy.paths().identity, Identity)
        assert mine
        assert identity
        assert (mine.id, mine.was_empty) == (identity.owner, True)
        moved = toy.checkout / "work_dirs/moved"
        toy.paths().work_dir.rename(moved)
        assert kind(toy, work_dir="work_dirs/moved", epochs=4) == "resumable"

    def test_a_folder_without_checkpoints_may_be_used_and_that_is_recorded(self, fresh: ToyProject) -> None:
        (fresh.paths().work_dir / "dataset").mkdir(parents=True)
        fresh.train()
        mine = owner(fresh.paths().work_dir)
        assert mine
        assert not mine.was_empty

    def test_a_training_of_before_is_adopted_when_it_goes_on(self, toy: ToyProject) -> None:
        (toy.paths().work_dir / "owner.json").unlink()
        identity = read_record(toy.paths().identity, Identity)
        assert identity
        write_json(toy.paths().identity, identity.model_copy(update={"owner": None}))
        toy.promote()
        toy.train(epochs=4)
        mine, identity = owner(toy.paths().work_dir), read_record(toy.paths().identity, Identity)
        assert mine
        assert identity
        assert (mine.id, mine.was_empty) == (identity.owner, False)

    def test_a_damaged_one_is_named_with_what_to_do(self, toy: ToyProject) -> None:
        (toy.paths().work_dir / "owner.json").write_text("")
        with pytest.raises(UserError, match=r"owner\.json"):
            toy.train(epochs=4)


def test_restore_typed_twice_does_not_swap_the_trainings_again(reverted: ToyProject) -> None:
    restore.restore_stage(StageContext(reverted.config(), "r", "s"))
    with pytest.raises(
        UserError,
        match=r"r/s: nothing to restore: the training that is in place is .* restore r/s N \(archived: ",
    ):
        restore.restore_stage(StageContext(reverted.config(), "r", "s"))
