"""`trainrelay train` beside a living supervisor: it follows, unless it holds an allocation of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.stage_on_disk import OnDisk
from support.supervising import eventually
from trainrelay.errors import Interrupted, Refusal
from trainrelay.operations import train
from trainrelay.supervise import acquire
from trainrelay.training.context import StageContext


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnDisk:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(train.supervise, "train", lambda *_: pytest.fail("a second trainer was started"))
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


@contextmanager
def another(disk: OnDisk, capsys: pytest.CaptureFixture[str], does: Callable[[], object]) -> Iterator[None]:
    """Somebody holds the lease; once they are followed they do that, and give it back."""
    disk.paths.supervision.mkdir(parents=True)
    lease = acquire(disk.paths.supervision, "r/s", print, lambda: False)
    said = ""

    def seen() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "so this start follows it" in said

    def owner() -> None:
        eventually(seen)
        does()
        lease.release()

    thread = threading.Thread(target=owner)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_training_that_another_completes_is_complete_here_too(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    with another(disk, capsys, disk.train):
        train.train_stage(StageContext(disk.config(), "r", "s"))
    assert disk.paths.train.exists()


def test_a_training_that_another_ends_early_is_not_started_again_here(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who stopped it did not mean: start it again over there."""
    with (
        pytest.raises(Interrupted, match=r"followed has ended: .*Run the same command again"),
        another(disk, capsys, lambda: None),
    ):
        train.train_stage(StageContext(disk.config(), "r", "s"))


def test_inside_an_allocation_it_refuses_so_that_no_gpus_idle(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    disk.paths.supervision.mkdir(parents=True)
    with (
        acquire(disk.paths.supervision, "r/s", print, lambda: False),
        pytest.raises(Refusal, match=r"r/s is training already: .*trainrelay stop r/s"),
    ):
        train.train_stage(StageContext(disk.config(), "r", "s"))
