"""`keep`: which checkpoints of a trainer go while it trains, and which never do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.step_folders import write_step
from support.toy_project import ToyByRate, ToyProject, arguments, make_checkout
from trainrelay.cli import stage as verbs
from trainrelay.config import parse
from trainrelay.errors import ConfigError, Fenced, UserError
from trainrelay.operations.report import write_report
from trainrelay.preflight import folders
from trainrelay.records import EpochBases, Removals
from trainrelay.supervise import checkpoint_keeper
from trainrelay.system.files import read_record, write_json
from trainrelay.trainers import TRAINERS
from trainrelay.training import retention, state
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.owners import owner_of
from trainrelay.training.plan import stage_plan

pytestmark = pytest.mark.process

SIX = {"epochs": 6}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six epochs without `keep`; records name absolute paths, so each test gets it in the same place."""
    folder = tmp_path_factory.mktemp("keep")
    with pytest.MonkeyPatch.context() as patched:
        checkout = make_checkout(folder / "now", patched, 0.1)
        ToyProject(checkout, folder / "now/runs").train(**SIX)
    shutil.copytree(folder / "now", folder / "kept", symlinks=True)
    return folder


@pytest.fixture
def toy(trained: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    monkeypatch.setitem(TRAINERS, "mmcv", ToyByRate(trained / "now/templates"))
    shutil.rmtree(trained / "now")
    shutil.copytree(trained / "kept", trained / "now", symlinks=True)
    return ToyProject(trained / "now/checkout", trained / "now/runs")


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    monkeypatch.setattr(checkpoint_keeper, "_LOOK_S", 0.02)
    return ToyProject(make_checkout(tmp_path, monkeypatch, 0.1), tmp_path / "runs")


def epochs(toy: ToyProject) -> list[int]:
    return sorted(int(path.stem[6:]) for path in toy.paths().work_dir.glob("epoch_*.pth"))


def facts(toy: ToyProject, **settings: object) -> state.Facts:
    return state.read(StageContext(toy.config(**{**SIX, **settings}), "r", "s"))


def retained(toy: ToyProject, guard: Callable[[], object] = bool, **keep: int) -> list[int]:
    """What is there once `keep` was asked what goes."""
    retention.retain(facts(toy, keep=keep), (), guard)
    return epochs(toy)


def test_check_counts_step_checkpoints(toy: ToyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """As large as the trainer's own before the first one; on disk, and in rank 0's memory."""

    def said(saving: state.Facts) -> str:
        found = retention.step_room(saving)
        return found.line() if found else ""

    own = facts(toy)
    size = own.checkpoints[0][1].stat().st_size
    monkeypatch.setattr(retention, "_GB", size)
    assert "up to 3 of about 1.00 GB" in said(own)
    assert "rank 0 holds a copy of 1.00 GB in host memory" in said(own)
    assert said(own).startswith("ok")
    assert "and mem_gb is 1.5: raise it" in said(facts(toy, resources={"gpu": 0, "mem_gb": 1.5}))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 2 * size))
    assert "saves would fail; make room, or lower keep_steps" in said(own)
    write_step(own.paths.folder / "attempts/001", 3)
    assert said(facts(toy)).startswith("ok")
    assert said(facts(toy, checkpoint_interval_min=0)) == said(replace(own, checkpoints=())) == ""


# ---------------------------------------------------------------------- a training with `keep`


def test_a_training_keeps_the_newest_and_every_second(
    new: ToyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    new.train(**SIX, keep={"last": 1, "every": 2})
    assert epochs(new) == [2, 4, 6]
    assert "keep removes" in capsys.readouterr().err
    noted = read_record(new.paths().removed, Removals)
    assert noted
    assert {(one.name, one.count) for one in noted.files} == {(f"epoch_{n}.pth", n) for n in (1, 3, 5)}
    assert all(one.size > 0 and one.at_s > 1e9 for one in noted.files)


def test_a_plan_speaks_of_the_disk_before_the_first_checkpoint_too(new: ToyProject) -> None:
    """Of what is known by then."""
    planned = stage_plan(StageContext(new.config(**SIX, keep={"last": 1}), "r", "s"))
    assert any("a checkpoint's size is not known before the first one" in note for note in planned.notes)
    without = stage_plan(StageContext(new.config(**SIX), "r", "s"))
    assert not any(" GB free " in note for note in without.notes)


def test_it_is_done_while_the_training_runs(new: ToyProject) -> None:
    """Not only at its end: the disk would be full by then."""
    habit = {"options": {"habit": "brisk"}}
    new.train(**SIX, **habit, keep={"last": 1})
    noted = read_record(new.paths().removed, Removals)
    (attempt,) = list_attempts(new.paths().folder)
    assert noted
    assert attempt.ended_s
    first = min(one.at_s for one in noted.files)
    assert first < attempt.ended_s - 1.0
    assert epochs(new) == [6]


def test_without_keep_nothing_goes_and_keep_is_no_other_training(toy: ToyProject) -> None:
    assert epochs(toy) == [1, 2, 3, 4, 5, 6]
    assert state.judge(facts(toy, keep={"last": 1})).kind == "complete"
    assert facts(toy, keep={"last": 1}).ingredients == facts(toy).ingredients


def test_nothing_goes_before_it_is_known_which_epoch_a_checkpoint_is_of(toy: ToyProject) -> None:
    """A trainer that saves epoch 5 as 4 would lose the one that is to be promoted."""
    known = facts(toy, keep={"last": 1})
    unknown = replace(known, work_dirs=replace(known.work_dirs, bases=EpochBases()))
    assert retention.expendable(known)
    assert not retention.expendable(unknown)
    assert "not known yet; set epoch_base of trainer" in (retention.retain(unknown, (), bool) or "")
    assert "keep would remove nothing" in next(retention.outlook(unknown))
    assert epochs(toy) == [1, 2, 3, 4, 5, 6]


def test_the_best_and_the_second_best_stay(new: ToyProject) -> None:
    """mAP is best in epoch 2, then 4, then 5."""
    best = {"checkpoint": {"best": "mAP", "mode": "max"}, "options": {"habit": "evaluates"}}
    new.train(**SIX, **best, keep={"last": 1})
    assert epochs(new) == [2, 4, 6]
    new.promote(**SIX, **best, keep={"last": 1})
    assert state.read(StageContext(new.config(**SIX, **best), "r", "s")).promoted


def test_of_the_best_so_many_stay_and_those_not_evaluated_yet(toy: ToyProject) -> None:
    asked = facts(toy, checkpoint={"best": "mAP", "mode": "max"}, keep={"last": 1, "best": 3})
    assert [one.count for one in retention.expendable(asked, [2, 4, 1, 3])] == [3]
    assert retention.expendable(asked, []) == []


def test_the_best_that_have_a_file_stay(toy: ToyProject) -> None:
    """Where it is evaluated more often than it is saved, the best epochs may have none."""
    asked = facts(toy, checkpoint={"best": "mAP", "mode": "max"}, keep={"last": 1})
    there = [one for one in asked.checkpoints if one[0] not in (2, 3)]
    going = retention.expendable(replace(asked, checkpoints=there), [2, 3, 4, 1, 6, 5])
    assert [one.count for one in going] == [5]


def test_a_resumed_training_keeps_its_resume_point(new: ToyProject) -> None:
    new.train(epochs=3, keep={"last": 1})
    new.train(**SIX, keep={"last": 1})
    assert epochs(new) == [3, 6]


# ---------------------------------------------------------------------- what never goes


def test_the_checkpoint_that_is_named_by_number_stays(toy: ToyProject) -> None:
    retention.retain(facts(toy, checkpoint={"epoch": 3}, keep={"last": 1}), (), bool)
    assert epochs(toy) == [3, 6]


def test_nothing_goes_before_each_of_the_newest_is_valid(toy: ToyProject) -> None:
    """Also where one was valid once."""
    newest = toy.paths().work_dir / "epoch_5.pth"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert retained(toy, last=2) == [1, 2, 3, 4, 5, 6]
    assert not toy.paths().removed.exists()
    assert retained(toy, last=1) == [6]


def test_nothing_goes_of_a_work_dir_that_is_not_ours(toy: ToyProject) -> None:
    path = toy.paths().work_dir / "owner.json"
    owner = owner_of(toy.paths().work_dir)
    assert owner
    write_json(path, owner.model_copy(update={"id": "another"}))
    assert retained(toy, last=1) == [1, 2, 3, 4, 5, 6]
    path.unlink()
    assert retained(toy, last=1) == [1, 2, 3, 4, 5, 6]


def test_nothing_goes_once_the_stage_is_another_supervisors(toy: ToyProject) -> None:
    def fenced() -> None:
        raise Fenced("another supervisor took it over")

    with pytest.raises(Fenced):
        retained(toy, fenced, last=1)
    assert epochs(toy) == [1, 2, 3, 4, 5, 6]


def test_links_and_what_they_lead_to_stay_and_so_do_other_files(toy: ToyProject, tmp_path: Path) -> None:
    work_dir = toy.paths().work_dir
    elsewhere = tmp_path / "precious.pth"
    (work_dir / "epoch_1.pth").rename(elsewhere)
    (work_dir / "epoch_1.pth").symlink_to(elsewhere)
    (work_dir / "latest.pth").symlink_to("epoch_2.pth")
    for name in ("best_mAP_epoch_3.pth", "my_epoch_3.pth", "epoch_3.pth.bak"):
        shutil.copyfile(work_dir / "epoch_3.pth", work_dir / name)
    os.link(work_dir / "epoch_4.pth", tmp_path / "hard.pth")
    assert retained(toy, last=1) == [1, 2, 6]
    assert elsewhere.exists()
    assert {path.name for path in work_dir.glob("*_3.pth*")} == {
        "best_mAP_epoch_3.pth",
        "my_epoch_3.pth",
        "epoch_3.pth.bak",
    }
    assert (tmp_path / "hard.pth").stat().st_size > 0


@pytest.mark.parametrize("name", ["net3d.pth", "my_copy_of_epoch_3.pth"])
def test_a_name_that_is_not_of_a_series_stays(toy: ToyProject, name: str) -> None:
    """A number in it is not how the trainer numbers its files."""
    work_dir = toy.paths().work_dir
    shutil.copyfile(work_dir / "epoch_3.pth", work_dir / name)
    known = facts(toy, keep={"last": 1})
    seen = replace(known, checkpoints=[*known.checkpoints, (3, work_dir / name)])
    assert {one.name for one in retention.expendable(seen)} == {f"epoch_{n}.pth" for n in range(1, 6)}


def test_a_name_with_the_iterations_of_its_epoch_is_of_a_series(toy: ToyProject) -> None:
    """As Hugging Face's Trainer calls its own; after a start with another length they are two series."""
    work_dir, known, found = toy.paths().work_dir, facts(toy, keep={"last": 1}), []
    lengths = {1: 16, 2: 32, 3: 44, 4: 52, 5: 68, 6: 84}
    for count, steps in lengths.items():
        found.append((count, work_dir / f"checkpoint-{steps}.pth"))
        shutil.copyfile(work_dir / f"epoch_{count}.pth", found[-1][1])
    seen = replace(known, checkpoints=found)
    assert {one.name for one in retention.expendable(seen)} == {"checkpoint-16.pth", "checkpoint-32.pth"}


def test_what_the_config_names_stays(toy: ToyProject) -> None:
    """Another run may start from it by an option."""
    toy_options = {"options": {"habit": "x", "init": str(toy.paths().work_dir / "epoch_3.pth")}}
    assert 3 not in {one.count for one in retention.expendable(facts(toy, keep={"last": 1}, **toy_options))}


def test_what_was_there_before_the_training_stays(toy: ToyProject) -> None:
    for name in ("epoch_2.pth", "owner.json"):
        os.utime(toy.paths().work_dir / name, (1e9, 1e9))
    os.utime(toy.paths().work_dir / "owner.json")
    assert retained(toy, last=1) == [2, 6]


def test_what_another_stage_started_from_stays(toy: ToyProject) -> None:
    plain = toy.config(**SIX, keep={"last": 1}).model_dump(mode="json", by_alias=True)
    stages = plain["runs"]["r"]["stages"]
    stages["t"] = {**stages["s"], "init_from": "s", "work_dir": None, "promotion": None, "keep": None}
    config = parse(plain)
    later = StageContext(config, "r", "t").paths
    later.folder.mkdir()
    identity = facts(toy).identity
    assert identity
    started = facts(toy).attempts[0].final_checkpoint
    assert started
    file = started.file.model_copy(update={"path": str(toy.paths().work_dir / "epoch_2.pth")})
    write_json(later.identity, identity.model_copy(update={"stage": "t", "initial_checkpoint": file}))
    retention.retain(state.read(StageContext(config, "r", "s")), (), bool)
    assert epochs(toy) == [2, 6]


# ---------------------------------------------------------------------- faults


KILLED = """
import os, signal, sys
from pathlib import Path
from support.toy_project import ToyByRate, ToyProject
from trainrelay.trainers import TRAINERS
from trainrelay.training import retention, state
from trainrelay.training.context import StageContext
folder, unlink = Path(sys.argv[1]), Path.unlink
def once(path, missing_ok=False):
    unlink(path, missing_ok)
    if path.name.startswith("epoch_"):
        os.kill(os.getpid(), signal.SIGKILL)
Path.unlink = once
TRAINERS["mmcv"] = ToyByRate(folder / "templates")
config = ToyProject(folder / "checkout", folder / "runs").config(epochs=6, keep={"last": 2})
retention.retain(state.read(StageContext(config, "r", "s")), (), bool)
"""


def test_killed_in_the_midst_of_it_the_next_start_finishes_it(toy: ToyProject) -> None:
    """Each file that is gone is on record, and the training is what it was."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    folder = str(toy.checkout.parent)
    done = subprocess.run([sys.executable, "-c", KILLED, folder], env=env, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert epochs(toy) == [2, 3, 4, 5, 6]
    left = facts(toy, keep={"last": 2})
    assert "keep removed 1 checkpoint (epoch 1;" in (retention.explained(left) or "")
    assert state.judge(left).kind == "complete"
    assert retained(toy, last=2) == [5, 6]
    noted = facts(toy).removed
    assert noted
    assert sorted(one.count for one in noted.files) == [1, 2, 3, 4]


def test_a_file_that_cannot_be_removed_harms_no_training(
    new: ToyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("epoch_"):
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    new.train(**SIX, keep={"last": 1})
    assert epochs(new) == [1, 2, 3, 4, 5, 6]


def test_the_newest_becomes_invalid_later_and_the_one_before_is_resumed_from(new: ToyProject) -> None:
    new.train(epochs=4, keep={"last": 2})
    assert epochs(new) == [3, 4]
    path = new.paths().work_dir / "epoch_4.pth"
    path.write_bytes(path.read_bytes()[:-100])
    new.train(**SIX, keep={"last": 2})
    resumed = list_attempts(new.paths().folder)[-1].resumed_from
    assert resumed
    assert resumed.epoch == 3
    assert epochs(new) == [3, 4, 5, 6]  # where it resumed, and what was trained again


# ---------------------------------------------------------------------- what is shown


def test_what_is_gone_is_explained(toy: ToyProject, capsys: pytest.CaptureFixture[str]) -> None:
    retained(toy, last=2)
    said = "keep removed 4 checkpoints (epoch 1, 2, 3, 4; "
    with pytest.raises(UserError, match="no checkpoint of epoch 3") as refused:
        toy.train(**SIX, checkpoint={"epoch": 3})
    assert said in str(refused.value)
    planned = stage_plan(StageContext(toy.config(**SIX), "r", "s"))
    assert any(note.startswith(said) for note in planned.notes)
    assert said in write_report(toy.config(**SIX), "r").read_text()
    (toy.checkout.parent / "config.yaml").write_text(toy.config(**SIX).model_dump_json(by_alias=True))
    verbs.doctor(arguments(configfile=toy.checkout.parent / "config.yaml", write=False, as_configured=False))
    assert said in capsys.readouterr().out


def test_the_plan_shows_what_would_go_and_whether_the_disk_holds_the_rest(
    toy: ToyProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notes(**keep: int) -> str:
        return "\n".join(stage_plan(StageContext(toy.config(epochs=26, keep=keep or None), "r", "s")).notes)

    assert "keep would remove 4 checkpoints (epoch 1, 2, 3, 4; " in notes(last=2)
    assert "once the newest are valid" in notes(last=2)
    assert "enough for 3 checkpoints of" in notes(last=2)
    assert "enough for 7 checkpoints of" in notes(last=2, every=5)
    assert "checkpoints" not in notes()
    size = (toy.paths().work_dir / "epoch_6.pth").stat().st_size
    full = shutil.disk_usage("/")._replace(free=4 * size)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: full)
    assert "up to 20 checkpoints of" in notes()
    assert "do not fit; set keep" in notes()
    assert "with what keep removes, enough for 3 checkpoints of" in notes(last=2)


def test_a_damaged_record_of_removals_is_named(toy: ToyProject) -> None:
    retained(toy, last=2)
    toy.paths().removed.write_text("{")
    with pytest.raises(UserError, match=r"removed\.json is damaged .* trainrelay doctor r/s"):
        facts(toy)


def test_keep_best_needs_a_metric(toy: ToyProject) -> None:
    with pytest.raises(ConfigError, match=r"stages\.s\.keep\.best: needs checkpoint: \{best: METRIC"):
        toy.config(keep={"best": 2})
    with pytest.raises(ConfigError, match=r"keep\.last"):
        toy.config(keep={"last": 0})
