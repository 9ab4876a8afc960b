"""A trainer that writes over its one checkpoint: the write in progress is waited for, and a copy is kept."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from support.supervising import InPlace, eventually, once, supervisor, toy_job
from trainrelay.checkpoint import glance
from trainrelay.errors import Fenced, Refusal
from trainrelay.records import AttemptRecord
from trainrelay.supervise import StageJob, checkpoint_keeper, close_open_attempts
from trainrelay.supervise.checkpoint_keeper import CheckpointKeeper
from trainrelay.supervise.resume import leftovers
from trainrelay.system.alive import TAG_VARIABLE, Kin, find, stat
from trainrelay.system.files import copy_durably, temporary_beside
from trainrelay.trainers import TRAINERS, Launch, LaunchRequest, ScriptSettings
from trainrelay.training.attempts import list_attempts
from trainrelay.training.owners import claim, owner_of


def saved_epoch(path: Path) -> int | None:
    """Finished epochs, as DETR counts them."""
    number = glance(path).number
    return None if number is None else number + 1


@pytest.fixture(scope="session")
def over_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint_1.pth to checkpoint_4.pth as DETR saves them, of some hundred KB."""
    torch = pytest.importorskip("torch")
    folder: Path = tmp_path_factory.mktemp("over one")
    for epoch in range(1, 5):
        weights = {"head.weight": torch.full((200, 200), float(epoch))}
        optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        saved = {"model": weights, "optimizer": optimizer, "lr_scheduler": {"last_epoch": epoch}}
        torch.save({**saved, "epoch": epoch - 1}, folder / f"checkpoint_{epoch}.pth")
    return folder


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for the next look."""
    monkeypatch.setattr(checkpoint_keeper, "_LOOK_S", 0.02)


def in_place(folder: Path, templates: Path, habit: str = "good", **changes: Any) -> StageJob:
    return toy_job(folder, templates, habit, epochs=4, trainer=InPlace(), **changes)


@contextmanager
def writing(folder: Path, templates: Path, habit: str, **changes: Any) -> Iterator[subprocess.Popen[str]]:
    """A supervisor whose trainer has written half of the checkpoint of epoch 3."""
    boss = supervisor(folder, templates, habit, epochs=4, kind="in-place", **changes)
    work_dir = in_place(folder, templates).work_dirs.current
    eventually(work_dir.is_dir)
    (work_dir / "begin").touch()
    eventually((work_dir / "half").exists)
    yield boss


def said(boss: subprocess.Popen[str], words: str) -> None:
    """Returns once the supervisor has said so."""
    assert boss.stderr is not None
    eventually(lambda: words in boss.stderr.readline())  # type: ignore[union-attr]


def the_attempt(folder: Path, templates: Path) -> AttemptRecord:
    (attempt,) = list_attempts(in_place(folder, templates).stage_dir)
    return attempt


@pytest.mark.process
def test_a_stop_waits_for_the_checkpoint_that_is_being_written(tmp_path: Path, over_one: Path) -> None:
    """It is whole afterwards, the trainer is ended before it begins the next, and the relaunch resumes."""
    job = in_place(tmp_path, over_one)
    with writing(tmp_path, over_one, "waits", stop_grace_s=1000.0) as boss:
        boss.send_signal(signal.SIGTERM)
        said(boss, "waiting for the write of checkpoint.pth to end")
        (job.work_dirs.current / "go").touch()
        _, errors = boss.communicate(timeout=60)
    assert "the write of checkpoint.pth has ended" in errors
    assert (job.work_dirs.current / "checkpoint.pth").read_bytes() == (
        over_one / "checkpoint_3.pth"
    ).read_bytes()
    assert the_attempt(tmp_path, over_one).end == "interrupted"
    resumed = once(job, Console(file=io.StringIO()))
    assert resumed.resumed_from is not None
    assert (resumed.end, resumed.resumed_from.epoch) == ("done", 3)
    assert Path(resumed.resumed_from.path).parent == job.work_dirs.current


@pytest.mark.process
def test_a_checkpoint_cut_short_costs_only_its_own_epoch(tmp_path: Path, over_one: Path) -> None:
    """SIGKILL in the midst of epoch 3's: the launch resumes by itself from our copy of epoch 2's."""
    job = in_place(tmp_path, over_one)
    assert job.work_dirs.kept is not None
    kept = job.work_dirs.kept / "checkpoint.pth"
    boss = supervisor(tmp_path, over_one, "killed", epochs=4, kind="in-place", launch=True)
    eventually(lambda: saved_epoch(kept) == 2)
    for word in ("begin", "go"):
        (job.work_dirs.current / word).touch()
    _, errors = boss.communicate(timeout=60)
    killed, done = list_attempts(job.stage_dir)
    assert (killed.end, done.end) == ("killed", "done"), errors
    assert done.resumed_from is not None
    assert (done.resumed_from.epoch, done.resumed_from.path) == (2, str(kept))
    assert done.final_checkpoint is not None
    assert Path(done.final_checkpoint.file.path).parent == job.work_dirs.current


@pytest.mark.process
def test_a_second_ctrl_c_ends_the_wait_for_a_write(tmp_path: Path, over_one: Path) -> None:
    with writing(tmp_path, over_one, "never", stop_grace_s=1000.0) as boss:
        boss.send_signal(signal.SIGINT)
        said(boss, "waiting for the write of checkpoint.pth to end")
        boss.send_signal(signal.SIGINT)
        _, errors = boss.communicate(timeout=60)
    assert "the write of checkpoint.pth did not end in time" in errors
    assert the_attempt(tmp_path, over_one).end == "interrupted"


@pytest.mark.process
def test_a_write_without_an_end_is_waited_for_within_the_grace(tmp_path: Path, over_one: Path) -> None:
    with writing(tmp_path, over_one, "never", stop_grace_s=0.5) as boss:
        boss.send_signal(signal.SIGTERM)
        _, errors = boss.communicate(timeout=60)
    assert "the write of checkpoint.pth did not end in time" in errors
    assert the_attempt(tmp_path, over_one).end == "interrupted"


@pytest.mark.process
def test_before_a_time_limit_a_write_has_what_slurm_leaves(
    tmp_path: Path, over_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write of gigabytes may take longer than the grace, and costs an epoch where it is cut short."""
    answer = "JobId=17 JobState=RUNNING Restarts=0 RunTime=00:55:00 TimeLimit=01:00:00 PreemptTime=None"
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho {answer}\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with writing(tmp_path, over_one, "waits", stop_grace_s=0.1) as boss:
        boss.send_signal(signal.SIGTERM)
        said(boss, "waiting for the write of checkpoint.pth to end")
        time.sleep(0.5)
        (in_place(tmp_path, over_one).work_dirs.current / "go").touch()
        _, errors = boss.communicate(timeout=60)
    assert "the write of checkpoint.pth has ended" in errors
    assert the_attempt(tmp_path, over_one).end == "time-limit"


@pytest.mark.process
def test_what_a_dead_supervisor_left_may_end_its_write_too(
    tmp_path: Path, over_one: Path, often: None
) -> None:
    """Where its trainer is ended, because the stage begins anew or goes on elsewhere."""
    job, said_so = in_place(tmp_path, over_one, stop_grace_s=1000.0), list[str]()
    with writing(tmp_path, over_one, "waits") as boss:
        boss.kill()
        boss.communicate()
        settling = threading.Thread(target=close_open_attempts, args=(job, said_so.append))
        settling.start()
        eventually(lambda: "waiting for the write of checkpoint.pth to end" in said_so)
        (job.work_dirs.current / "go").touch()
        settling.join(60)
    assert saved_epoch(job.work_dirs.current / "checkpoint.pth") == 3
    assert the_attempt(tmp_path, over_one).end == "lost"


# ---------------------------------------------------------------------- who writes


@contextmanager
def sleeping(tag: str, code: str = "pass") -> Iterator[int]:
    """The pid of a process of an attempt, once it has done what the code says."""
    said_up = f"{code}; import time; print('up', flush=True); time.sleep(600)"
    env = {**os.environ, TAG_VARIABLE: tag}
    child = subprocess.Popen([sys.executable, "-c", said_up], env=env, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        yield child.pid
    finally:
        child.kill()
        child.communicate()


@pytest.mark.process
@pytest.mark.parametrize("opened", ["open({!r}, 'wb')", "__import__('torch')._C.PyTorchFileWriter({!r})"])
def test_a_file_that_python_or_torch_has_open_for_writing_is_seen(
    tmp_path: Path, over_one: Path, opened: str
) -> None:
    """Both ways in which torch.save writes; a name for the time of the write counts."""
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "work")
    path = tmp_path / "link/checkpoint.pth.tmp-7"
    with sleeping("mine", f"held = {opened.format(str(path))}") as pid:
        assert checkpoint_keeper._open_for_writing(tmp_path / "link", [stat(pid)]) == path.name
        assert checkpoint_keeper._open_for_writing(tmp_path, [stat(pid)]) is None


@pytest.mark.process
def test_a_file_in_a_checkpoint_folder_is_seen_beside_one_in_another_of_that_name(tmp_path: Path) -> None:
    """A copy that the trainer makes of its checkpoint elsewhere, opened first."""
    held = []
    for folder in ("elsewhere/checkpoint-1", "work/checkpoint-1/checkpoint-1"):
        (tmp_path / folder).mkdir(parents=True)
        held.append(f"open({str(tmp_path / folder / 'a.pt')!r}, 'wb')")
    with sleeping("mine", f"held = [{', '.join(held)}]") as pid:
        found = checkpoint_keeper._open_for_writing(tmp_path / "work", [stat(pid)], {"checkpoint-1"})
    assert found == "checkpoint-1/checkpoint-1/a.pt"


def test_a_work_dir_that_takes_long_to_list_is_listed_less_often(
    tmp_path: Path, over_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of folders on a network file system."""
    keeper, waits = checkpoint_keeper.CheckpointKeeper(in_place(tmp_path, over_one), lambda _: None), []
    times = iter([0.0, 2.0, 10.0, 11.0, 20.0, 60.0])

    def wait(wait_s: float) -> bool:
        waits.append(wait_s)
        monkeypatch.setattr(checkpoint_keeper.time, "monotonic", lambda: next(times))
        return len(waits) == 4

    monkeypatch.setattr(keeper._closed, "wait", wait)
    monkeypatch.setattr(keeper, "_roll", lambda: None)
    monkeypatch.setattr(keeper, "_understand", lambda: None)
    keeper.run()
    assert waits == [0.5, 20.0, 10.0, 30.0]


@pytest.mark.process
def test_a_log_an_event_file_and_what_is_read_are_no_checkpoint_in_writing(tmp_path: Path) -> None:
    """They are open as long as the trainer lives: no stop may wait for them."""
    (tmp_path / "resumed_from.pth").touch()
    names = ["log.txt", "events.out.tfevents.1700000000.node1.uni.pt.17.0", "train.pth.log"]
    opened = {**dict.fromkeys(names, "a"), "resumed_from.pth": "r"}
    held = [f"open({str(tmp_path / name)!r}, {mode!r})" for name, mode in opened.items()]
    code = f"held = [{', '.join(held)}]"
    with sleeping("mine", code) as pid:
        assert checkpoint_keeper._open_for_writing(tmp_path, [stat(pid)]) is None


@pytest.mark.process
def test_a_file_that_grows_by_a_hand_that_is_not_seen_is_waited_for(tmp_path: Path, over_one: Path) -> None:
    """As from a container or another node."""
    tag = f"grows-{os.getpid()}"  # another test may run at this moment, whose processes must live
    job, said_so, done = in_place(tmp_path, over_one), list[str](), threading.Event()
    path = job.work_dirs.current / "checkpoint.pth"
    path.parent.mkdir(parents=True)

    def grow() -> None:
        with path.open("wb", buffering=0) as file:
            while not done.wait(0.01):
                file.write(b"weights")

    writer = threading.Thread(target=grow, daemon=True)
    writer.start()
    keeper = CheckpointKeeper(job, said_so.append)
    with sleeping(tag), closing(keeper):
        keeper.start()
        eventually(lambda: keeper._before)
        ending = threading.Thread(target=keeper.end, args=(Kin(tag), 1000.0))
        ending.start()
        eventually(lambda: "waiting for the write of checkpoint.pth to end" in said_so)
        assert find(Kin(tag))
        done.set()
        ending.join(60)
        assert not find(Kin(tag))
    writer.join()
    assert said_so[-1] == "the write of checkpoint.pth has ended"


# ---------------------------------------------------------------------- the copy


class Bench:
    """A work dir in which this test plays the trainer, looked at by a keeper without its thread."""

    def __init__(self, folder: Path, templates: Path) -> None:
        self.job, self.templates, self.said = in_place(folder, templates), templates, list[str]()
        self.keeper = CheckpointKeeper(self.job, self.said.append)
        self.work_dir = self.job.work_dirs.current
        self.work_dir.mkdir(parents=True)
        self.job.stage_dir.mkdir(parents=True)

    def saved(self, epoch: int, *names: str, until: int | None = None) -> None:
        """The trainer saves under these names, and the keeper looks after each."""
        for name in names:
            (self.work_dir / name).write_bytes(
                (self.templates / f"checkpoint_{epoch}.pth").read_bytes()[:until]
            )
            self.keeper.look()

    @property
    def kept(self) -> dict[str, int | None]:
        """Epochs of our copies, by their names."""
        assert self.job.work_dirs.kept is not None
        return {path.name: saved_epoch(path) for path in self.job.work_dirs.kept.glob("*")}


@pytest.fixture
def bench(tmp_path: Path, over_one: Path) -> Bench:
    return Bench(tmp_path, over_one)


def test_the_copy_is_of_the_newest_epoch_and_shares_nothing_with_the_file(bench: Bench) -> None:
    for epoch in (1, 2, 3):
        bench.saved(epoch, "checkpoint.pth")
        assert bench.kept == {"checkpoint.pth": epoch}
    assert bench.job.work_dirs.kept is not None
    assert (bench.job.work_dirs.kept / "checkpoint.pth").stat().st_nlink == 1
    (bench.work_dir / "checkpoint.pth").write_bytes(b"")
    assert bench.kept == {"checkpoint.pth": 3}


def test_a_look_that_could_not_list_the_work_dir_ends_no_copying(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file went away while it was listed, which is likelier the more of them a checkpoint has."""
    bench.saved(1, "checkpoint.pth")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_keeper, "_files", lambda *_: {})
        bench.keeper.look()
    bench.saved(2, "checkpoint.pth")
    assert bench.kept == {"checkpoint.pth": 2}


def test_a_file_for_each_epoch_needs_no_copy(bench: Bench) -> None:
    """Also where the trainer writes its newest one under a second name, which is overwritten."""
    bench.saved(1, "checkpoint0000.pth")
    for epoch in (2, 3):
        bench.saved(epoch, "checkpoint.pth", f"checkpoint{epoch - 1:04}.pth")
    assert bench.kept == {}


class ByContent(InPlace):
    """Its files have any name."""

    def checkpoints(self, work_dir: Path, epoch_base: int = 0) -> list[tuple[int, Path]]:
        paths = sorted(work_dir.glob("*.pth")) if work_dir.is_dir() else []
        return sorted(((glance(path).number or 0, path) for path in paths), reverse=True)


def test_a_number_in_the_name_is_believed_until_another_epoch_is_in_the_file(bench: Bench) -> None:
    """resnet50.pth may be overwritten, or be the file of epoch 50."""
    bench.job = replace(bench.job, trainer=ByContent())
    bench.keeper = CheckpointKeeper(bench.job, bench.said.append)
    bench.saved(1, "resnet50.pth")
    assert bench.kept == {}
    bench.saved(2, "resnet50.pth")
    assert bench.kept == {"resnet50.pth": 2}


@pytest.mark.parametrize("until", [300, -1000])
def test_what_is_cut_short_does_not_replace_the_copy_before(bench: Bench, until: int) -> None:
    bench.saved(1, "checkpoint.pth")
    bench.saved(2, "checkpoint.pth", until=until)
    assert bench.kept == {"checkpoint.pth": 1}
    bench.saved(2, "checkpoint.pth")
    assert bench.kept == {"checkpoint.pth": 2}


def test_a_checkpoint_that_is_not_finite_is_not_kept(bench: Bench, tmp_path: Path) -> None:
    """What nobody may resume from does not cost what one may."""
    torch = pytest.importorskip("torch")
    bench.saved(1, "checkpoint.pth")
    diverged = torch.load(bench.templates / "checkpoint_2.pth")
    diverged["model"]["head.weight"][0] = float("nan")
    torch.save(diverged, bench.work_dir / "checkpoint.pth")
    bench.keeper.look()
    assert bench.kept == {"checkpoint.pth": 1}


def test_a_mask_of_infinities_costs_no_copy_where_the_optimizer_keeps_nothing(bench: Bench) -> None:
    torch = pytest.importorskip("torch")
    whole = torch.load(bench.templates / "checkpoint_1.pth")
    whole["model"]["mask"] = torch.full((6, 6), -torch.inf).triu(1)
    whole["optimizer"] = {"state": {}, "param_groups": [{"lr": 0.1, "momentum": 0, "params": [0]}]}
    torch.save(whole, bench.work_dir / "checkpoint.pth")
    bench.keeper.look()
    assert bench.kept == {"checkpoint.pth": 1}


def test_a_training_that_began_again_does_not_cost_the_copy(bench: Bench) -> None:
    """A trainer that ignores its resume saves epoch 1 over epoch 3."""
    bench.saved(3, "checkpoint.pth")
    bench.saved(1, "checkpoint.pth")
    assert bench.kept == {"checkpoint.pth": 3}


def test_what_changes_while_it_is_copied_is_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next look, which sees it changed, takes it."""
    path = bench.work_dir / "checkpoint.pth"

    def slowly(source: Path, target: Path) -> None:
        copy_durably(source, target)
        path.write_bytes((bench.templates / "checkpoint_2.pth").read_bytes())

    monkeypatch.setattr(checkpoint_keeper, "copy_durably", slowly)
    bench.saved(1, "checkpoint.pth")
    assert bench.kept == {}
    monkeypatch.undo()
    bench.keeper.look()
    assert bench.kept == {"checkpoint.pth": 2}


def test_a_disk_without_room_costs_a_warning_and_not_the_copy_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two is needed: the trainer's own next write comes first."""
    bench.saved(1, "checkpoint.pth")
    size = (bench.work_dir / "checkpoint.pth").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * size - 1))
    bench.saved(2, "checkpoint.pth")
    assert bench.kept == {"checkpoint.pth": 1}
    assert bench.said == [
        f"warning: no copy of the newest checkpoint: {bench.job.work_dirs.kept} has too little room"
    ]
    monkeypatch.undo()
    bench.saved(3, "checkpoint.pth")
    assert bench.kept == {"checkpoint.pth": 3}


def test_a_disk_that_fills_while_it_is_written_to_costs_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a quota does, which no look at the free room shows."""
    bench.saved(1, "checkpoint.pth")

    def full(_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    bench.saved(2, "checkpoint.pth")
    assert bench.kept == {"checkpoint.pth": 1}
    assert bench.said[0].endswith("checkpoint.pth.new: the disk quota is used up")


def test_a_folder_that_cannot_be_read_for_a_while_ends_no_keeper(
    bench: Bench, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network file system answers that restarts; each trouble is reported once."""
    troubles = [OSError(errno.ESTALE, "Stale file handle", "runs/r/s/steps")] * 3

    def roll() -> None:
        if troubles:
            raise troubles.pop()

    monkeypatch.setattr(bench.keeper, "_roll", roll)
    bench.keeper.start()
    try:
        eventually(lambda: not troubles)
        shutil.copy(bench.templates / "checkpoint_1.pth", bench.work_dir / "checkpoint.pth")
        eventually(lambda: bench.kept == {"checkpoint.pth": 1})
    finally:
        bench.keeper.close()
    assert bench.said == ["warning: checkpoints are looked at again later: runs/r/s/steps: Stale file handle"]


def test_a_stage_that_is_anothers_keeps_the_copy_that_is_there(tmp_path: Path, over_one: Path) -> None:
    """The token is looked at before the copy is put in place, and the thread ends."""
    bench = Bench(tmp_path, over_one)

    def fenced() -> None:
        raise Fenced("another supervisor took it over")

    bench.saved(1, "checkpoint.pth")
    bench.keeper = CheckpointKeeper(bench.job, bench.said.append, fenced)
    with pytest.raises(Fenced):
        bench.saved(2, "checkpoint.pth")
    assert saved_epoch(bench.job.stage_dir / "kept/checkpoint.pth") == 1


@pytest.mark.process
def test_a_copy_that_takes_long_delays_no_end(
    tmp_path: Path, over_one: Path, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer dies, is noticed and recorded while the copy is being made."""
    job, recorded = in_place(tmp_path, over_one, "killed"), list[str | None]()

    def takes_long(_source: Path, _target: Path) -> None:
        for word in ("begin", "go"):
            (job.work_dirs.current / word).touch()
        recorded.append(eventually(lambda: list_attempts(job.stage_dir)[0].end))

    monkeypatch.setattr(checkpoint_keeper, "copy_durably", takes_long)
    once(job, Console(file=io.StringIO()))
    assert recorded == ["killed"]


def test_what_a_killed_supervisor_left_of_a_copy_is_removed(bench: Bench) -> None:
    bench.saved(1, "checkpoint.pth")
    assert bench.job.work_dirs.kept is not None
    aside = bench.job.work_dirs.kept / "checkpoint.pth.new"
    for left in (aside, temporary_beside(aside)):
        left.write_bytes(b"half of epoch 2")
    bench.saved(2, "checkpoint.pth")
    assert bench.kept == {"checkpoint.pth": 2}


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_between_two_renames_leaves_a_copy_that_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Nothing replaces a folder at once."""
    trainer = TRAINERS["script"].of(ScriptSettings(command="x {entry}", checkpoints="last/"), "t.py")
    bench.keeper = CheckpointKeeper(replace(bench.job, trainer=trainer), bench.said.append)
    (bench.work_dir / "last").mkdir()
    dirs, target, done = bench.job.work_dirs, bench.job.stage_dir / "kept/last", list[Path]()

    def copies() -> list[int]:
        return [epoch for epoch, path in dirs.checkpoints(trainer) if dirs.kept in path.parents]

    def dies(path: Path, to: Path, rename: Any = Path.rename) -> None:
        if target in (path, to):
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(path)
        rename(path, to)

    bench.saved(1, "last/all.pth")
    assert copies() == [1]
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(Path, "rename", dies)
        bench.saved(2, "last/all.pth")
    assert copies() == [2 if renames == 2 else 1]
    bench.saved(3, "last/all.pth")
    assert (copies(), bench.said) == ([3], [])


@pytest.mark.parametrize("other_disk", [False, True])
def test_who_owns_a_work_dir_is_written_again_once_its_trainer_has_saved_into_it(
    tmp_path: Path, over_one: Path, other_disk: bool
) -> None:
    """Not while the trainer empties it, whose rmdir would find something then."""
    job = in_place(tmp_path, over_one)
    folder = job.work_dirs.current
    claim(folder, "a" * 32, job.stage_dir)
    (folder / "old.pth").touch()
    keeper, owner = CheckpointKeeper(job, print), owner_of(folder)
    keeper.look()
    for name in ("owner.json", "old.pth"):
        (folder / name).unlink()
        keeper.look()
        assert owner_of(folder) is None
    keeper._device += other_disk
    (folder / "new.pth").touch()
    keeper.look()
    assert owner_of(folder) == (None if other_disk else owner)


def test_a_checkpoint_that_is_not_understood_is_named_while_it_trains(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, when it is not being written any more, and not what was there before the start."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(checkpoint_keeper, "_UNDERSTAND_S", 1e-9)
    whole = {"model": {"w.weight": torch.ones(2)}, "optimizer": {"a": 1}}
    torch.save(whole, bench.work_dir / "before.pth")
    for _ in range(3):
        bench.keeper._understand()
    assert bench.said == []
    torch.save({**whole, "done": 3}, bench.work_dir / "checkpoint.pth")
    written = (bench.work_dir / "checkpoint.pth").read_bytes()
    for until in (100, 200, None):
        (bench.work_dir / "checkpoint.pth").write_bytes(written[:until])
        bench.keeper.look()
        bench.keeper._understand()
    assert bench.said == []
    for _ in range(3):
        bench.keeper._understand()
    (said,) = bench.said
    assert said.startswith(f"no checkpoint is understood yet: {bench.work_dir} holds ")
    assert "checkpoint.pth (lacks epoch; whole numbers at its top: done)" in said


def test_a_checkpoint_that_is_refused_is_named_at_once_with_what_allows_it(bench: Bench) -> None:
    """It is whole, and no later one will be understood: not after the days that the training may take."""
    torch = pytest.importorskip("torch")
    bench.keeper._understand()
    for epoch in (1, 2):
        torch.save({"model": Own(), "epoch": epoch}, bench.work_dir / f"checkpoint{epoch}.pth")
        bench.keeper.look()
        bench.keeper._understand()
    (said,) = bench.said
    assert said.startswith(f"no checkpoint is understood yet: {bench.work_dir} holds checkpoint1.pth (is un")
    assert f"allow it in config.yaml, below `script`: classes: [{Own.__module__}.*]; then stop" in said
    assert len(said) < 350 + len(str(bench.work_dir))


class Own:
    """An object of a trainer's own class."""


def test_nothing_is_said_of_other_files_once_a_checkpoint_is_understood(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_keeper, "_UNDERSTAND_S", 1e-9)
    bench.keeper._understand()
    bench.saved(1, "checkpoint.pth")
    (bench.work_dir / "odd.pth").write_bytes(b"PK")
    for _ in range(3):
        bench.keeper._understand()
    assert bench.said == []


class KilledWithinItsFirstSave(InPlace):
    """By its supervisor's words it has trained an epoch."""

    line = "Epoch: [0]  [0/3]  eta: 0:00:01  loss: 0.5000  time: 0.1"
    end = "kill -9 $$"

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        folder, cut = request.work_dir, f"head -c 300 '{request.config}/checkpoint_1.pth'"
        saved = f"mkdir -p '{folder}'; {cut} > '{folder}/checkpoint.pth'"
        return Launch(("sh", "-c", f"echo '{self.line}'; {saved}; {self.end}"), {}, request.root)


@pytest.mark.process
def test_a_training_that_was_killed_within_its_first_save_begins_again(
    tmp_path: Path, over_one: Path
) -> None:
    """Nothing can be read of what it left, which is kept beside the next one's."""
    job = in_place(tmp_path, over_one)
    for _ in range(2):
        record = once(replace(job, trainer=KilledWithinItsFirstSave()), Console(file=io.StringIO()))
        assert (record.end, leftovers(job, record).unrecognised) == ("killed", False)
    record = once(job, Console(file=io.StringIO()))
    assert (record.number, record.end, record.resumed_from) == (3, "done", None)
    left = {path.name for path in job.work_dirs.current.glob("*.damaged*")}
    assert left == {"checkpoint.pth.damaged", "checkpoint.pth.damaged2"}


@pytest.mark.process
@pytest.mark.parametrize("puts", [False, True])
def test_what_may_not_be_of_a_first_save_is_not_trained_over(
    tmp_path: Path, over_one: Path, puts: bool
) -> None:
    """An earlier epoch may have been in the same file; what you are copying there is not the trainer's."""
    job = in_place(tmp_path, over_one)
    trainer = KilledWithinItsFirstSave()
    trainer.line = trainer.line if puts else trainer.line.replace("[0]  [0/3]", "[2]  [0/3]")
    assert once(replace(job, trainer=trainer), Console(file=io.StringIO())).end == "killed"
    file = job.work_dirs.current / "checkpoint.pth"
    os.utime(file, (time.time(), time.time() + 3600 * puts))
    with pytest.raises(Refusal, match="cut short"):
        once(job, Console(file=io.StringIO()))
    assert file.exists()


@pytest.mark.process
def test_a_training_that_ended_by_itself_was_not_stopped_within_its_first_save(
    tmp_path: Path, over_one: Path
) -> None:
    """What it left is named, and nothing begins again: a full disk would cut the next one, too."""
    job = in_place(tmp_path, over_one)
    trainer = KilledWithinItsFirstSave()
    trainer.end = "exit 0"
    record = once(replace(job, trainer=trainer), Console(file=io.StringIO()))
    assert (record.end, "is cut short" in leftovers(job, record).text) == ("unfinished", True)
    with pytest.raises(Refusal, match="cut short"):
        once(job, Console(file=io.StringIO()))


@pytest.mark.process
def test_what_is_cut_short_after_an_epoch_was_saved_is_not_trained_over(
    tmp_path: Path, over_one: Path
) -> None:
    """A backup may be there: the decision is yours."""
    job = in_place(tmp_path, over_one)
    assert once(job, Console(file=io.StringIO())).end == "done"
    shutil.rmtree(job.work_dirs.kept or tmp_path / "none", ignore_errors=True)
    (job.work_dirs.current / "checkpoint.pth").write_bytes(b"PK")
    with pytest.raises(Refusal):
        once(job, Console(file=io.StringIO()))
