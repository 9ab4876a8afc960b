"""The trainer's code is recorded; where it changed under a training that goes on, a person hears of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.errors import Refusal
from trainrelay.operations import train
from trainrelay.operations.check import _code_checks
from trainrelay.records import AttemptRecord
from trainrelay.supervise import StageJob
from trainrelay.system.files import read_record, write_json
from trainrelay.text import kept_secret
from trainrelay.training.code_version import CodeVersion, NotKnown, code_version
from trainrelay.training.context import StageContext

pytestmark = pytest.mark.process


class Started(Exception):
    """The trainer would run now."""


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnDisk:
    """A training of 2 epochs, begun with the code of the checkout's first commit."""
    jobs: list[StageJob] = []

    def start(job: StageJob, *_: Any) -> None:
        jobs.append(job)
        raise Started(job.code)

    monkeypatch.setattr(train.supervise, "train", start)
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    root = tmp_path / "checkout"
    for arguments in (["init"], ["add", "."], ["commit", "-m", "first"]):
        git(root, *arguments)
    now = code_version(root)
    assert isinstance(now, CodeVersion)
    disk.train(code=now.name)
    return disk


def change(disk: OnDisk) -> None:
    (disk.base / "checkout/tools/train.py").write_text("print('changed')\n")


def test_the_same_code_says_nothing(disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Started):
        train.train_stage(StageContext(disk.config(epochs=3), "r", "s"))
    assert "code" not in capsys.readouterr().err


def test_other_code_is_warned_about_recorded_and_its_changes_kept(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    change(disk)
    with pytest.raises(Started, match=r"^[0-9a-f]{40} with changes [0-9a-f]{12}$"):
        train.train_stage(StageContext(disk.config(epochs=3), "r", "s"))
    assert "warning: r/s: the trainer's code was" in capsys.readouterr().err
    (kept,) = disk.paths.folder.glob("code-*.diff")
    assert "+print('changed')" in kept.read_text()


def test_a_secret_of_a_config_inside_the_checkout_is_not_in_its_kept_changes(disk: OnDisk) -> None:
    kept_secret({"A_KEY": "key-4711-of-the-config"})
    (disk.base / "checkout/tools/train.py").write_text("A_KEY = 'key-4711-of-the-config'\n")
    with pytest.raises(Started):
        train.train_stage(StageContext(disk.config(epochs=3), "r", "s"))
    (kept,) = disk.paths.folder.glob("code-*.diff")
    assert "+A_KEY = '***'" in kept.read_text()


def test_other_code_is_refused_where_the_config_says_so(disk: OnDisk) -> None:
    change(disk)
    config = disk.config(epochs=3).model_copy(update={"on_code_change": "refuse"})
    with pytest.raises(Refusal, match="on_code_change: warn"):
        train.train_stage(StageContext(config, "r", "s"))


def test_a_folder_without_git_has_no_code_state(tmp_path: Path) -> None:
    found = code_version(tmp_path)
    assert isinstance(found, NotKnown)
    assert not found.failed


def of_another_user(disk: OnDisk, patched: pytest.MonkeyPatch) -> None:
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    for name, value in {**settings, "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}.items():
        patched.setenv(name, value)


def without_git(disk: OnDisk, patched: pytest.MonkeyPatch) -> None:
    patched.setenv("PATH", str(disk.base))


def slow(disk: OnDisk, patched: pytest.MonkeyPatch) -> None:
    (disk.base / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (disk.base / "git").chmod(0o755)
    patched.setenv("PATH", f"{disk.base}:{os.environ['PATH']}")
    patched.setattr("trainrelay.training.code_version._GIT_TIMEOUT_S", 0.2)


def of_a_worktree_that_is_gone(disk: OnDisk, patched: pytest.MonkeyPatch) -> None:
    unknown(disk)
    (disk.base / "checkout/.git").write_text("gitdir: /no/such/worktrees/one\n")


FAILURES = {
    of_another_user: "dubious ownership .*safe.directory",
    without_git: "git cannot be run: No such file",
    slow: "git cannot be run: no answer within",
    of_a_worktree_that_is_gone: "not a git repository: /no/such",
}


@pytest.mark.parametrize(("fails", "words"), FAILURES.items(), ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize("known", [True, False], ids=["known", "never known"])
def test_where_git_fails_a_change_is_not_ruled_out(
    disk: OnDisk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: Callable[[OnDisk, pytest.MonkeyPatch], None],
    words: str,
    known: bool,
) -> None:
    if not known:
        shutil.rmtree(disk.paths.folder)
    fails(disk, monkeypatch)
    at = StageContext(disk.config(epochs=3).model_copy(update={"on_code_change": "refuse"}), "r", "s")
    with pytest.raises(Refusal, match=words):
        train.train_stage(at)
    ((_, found),) = _code_checks([at])
    assert found.kind == "fix"
    assert re.search(words, found.what)
    at = StageContext(disk.config(epochs=3), "r", "s")
    with pytest.raises(Started, match="None"):
        train.train_stage(at)
    assert re.search(f"warning: r/s: the trainer's code .*{words}", " ".join(capsys.readouterr().err.split()))
    ((_, found),) = _code_checks([at])
    assert found.kind == "note"


def test_code_that_was_fixed_after_a_startup_error_is_no_change(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = disk.paths.folder / "attempts/001/attempt.json"
    record = read_record(path, AttemptRecord)
    assert record
    disk.checkpoint.unlink()
    failed = {"end": "trainer-bug", "final_checkpoint": None}
    write_json(path, record.model_copy(update=failed))
    change(disk)
    config = disk.config().model_copy(update={"on_code_change": "refuse"})
    with pytest.raises(Started):
        train.train_stage(StageContext(config, "r", "s"))
    assert "code was" not in capsys.readouterr().err
    write_json(path, record.model_copy(update={**failed, "last_epoch": 1}))
    with pytest.raises(Refusal, match="the trainer's code was"):
        train.train_stage(StageContext(config, "r", "s"))


def unknown(disk: OnDisk) -> None:
    (disk.base / "checkout/.git").rename(disk.base / "away")


def test_code_that_is_not_known_any_more_is_refused_where_a_change_is(disk: OnDisk) -> None:
    unknown(disk)
    config = disk.config(epochs=3).model_copy(update={"on_code_change": "refuse"})
    with pytest.raises(Refusal, match=r"code was [0-9a-f]{40}, is not known \(.*on_code_change: warn"):
        train.train_stage(StageContext(config, "r", "s"))
    with pytest.raises(Started, match="None"):
        train.train_stage(StageContext(disk.config(epochs=3), "r", "s"))


def test_code_that_was_never_known_is_said_where_a_change_would_be_refused(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown(disk)
    shutil.rmtree(disk.paths.folder)
    config = disk.config(epochs=3).model_copy(update={"on_code_change": "refuse"})
    with pytest.raises(Started, match="None"):
        train.train_stage(StageContext(config, "r", "s"))
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: r/s: the trainer's code is not known (" in said
    assert "so no change of it can be refused or reported" in said
    with pytest.raises(Started, match="None"):
        train.train_stage(StageContext(disk.config(epochs=3), "r", "s"))
    assert "code" not in capsys.readouterr().err
