"""A trainer that writes over its one checkpoint: the write in progress is waited for, and a copy is kept."""

from __future__ import annotations

import io
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from support.supervising import InPlace, eventually, once, supervisor, toy_job
from trainrelay.checkpoint import saved_epoch
from trainrelay.records import AttemptRecord
from trainrelay.state import list_attempts
from trainrelay.supervise import StageJob


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


def test_a_second_ctrl_c_ends_the_wait_for_a_write(tmp_path: Path, over_one: Path) -> None:
    with writing(tmp_path, over_one, "never", stop_grace_s=1000.0) as boss:
        boss.send_signal(signal.SIGINT)
        said(boss, "waiting for the write of checkpoint.pth to end")
        boss.send_signal(signal.SIGINT)
        _, errors = boss.communicate(timeout=60)
    assert "the write of checkpoint.pth did not end in time" in errors
    assert the_attempt(tmp_path, over_one).end == "interrupted"


def test_a_write_without_an_end_is_waited_for_within_the_grace(tmp_path: Path, over_one: Path) -> None:
    with writing(tmp_path, over_one, "never", stop_grace_s=0.5) as boss:
        boss.send_signal(signal.SIGTERM)
        _, errors = boss.communicate(timeout=60)
    assert "the write of checkpoint.pth did not end in time" in errors
    assert the_attempt(tmp_path, over_one).end == "interrupted"
