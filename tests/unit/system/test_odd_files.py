"""Pipes, folders and files that cannot be read in the place of ours: a sentence, no wait, no traceback."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.stage_on_disk import OnDisk
from trainrelay.cli import main
from trainrelay.config import load_config, load_site
from trainrelay.controller.locks import lock_state
from trainrelay.errors import ConfigError, Refusal, UserError
from trainrelay.operations.report import write_report
from trainrelay.records import Identity
from trainrelay.system.files import read_record
from trainrelay.trainers import TRAINERS
from trainrelay.training import state, submitted
from trainrelay.training.context import StageContext
from trainrelay.training.plan import stage_plan


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # its address is limited to 108 bytes
        made.bind(path.name)


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "unreadable": lambda path: path.symlink_to("/proc/self/mem"),  # a regular file: reading it fails
    "loop": lambda path: path.symlink_to(path.name),
    "socket": a_socket,
}


@pytest.fixture(params=ODD)
def put(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Path]:
    monkeypatch.chdir(tmp_path)

    def put(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        ODD[request.param](path)
        os.chdir(tmp_path)
        return path

    return put


@pytest.mark.parametrize("name", ["config.yaml", "config.json"])
def test_a_config(put: Callable[[Path], Path], tmp_path: Path, name: str, capsys) -> None:
    path = put(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path)
    assert main(["plan", "--configfile", str(path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_site_file(put: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_site(put(tmp_path / "site.yaml"))


def test_links_to_nothing(tmp_path: Path) -> None:
    """A site file that is gone would otherwise mean the cluster's defaults."""
    for load, name in ((load_config, "config.yaml"), (load_site, "site.yaml")):
        (tmp_path / name).symlink_to("gone")
        with pytest.raises(ConfigError, match="is a symbolic link to nothing"):
            load(tmp_path / name)


def test_a_record(put: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*stage\.json"):
        read_record(put(tmp_path / "stage.json"), Identity)


@pytest.mark.parametrize("name", ["train.json", "attempts/001/attempt.json"])
def test_a_record_of_a_stage(put: Callable[[Path], Path], tmp_path: Path, name: str) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    put(disk.paths.folder / name)
    with pytest.raises(UserError, match=f"cannot read .*{name}"):
        state.read(StageContext(disk.config(), "r", "s"))


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_trainer_config(put: Callable[[Path], Path], tmp_path: Path, kind: str) -> None:
    put(tmp_path / "a.py")
    assert TRAINERS[kind].read_config(tmp_path, "a.py").problem


@pytest.mark.parametrize("base", ["base.py", "base.json"])
def test_a_base_of_a_trainer_config(put: Callable[[Path], Path], tmp_path: Path, base: str) -> None:
    put(tmp_path / base)
    (tmp_path / "a.py").write_text(f"_base_ = ['{base}']\n")
    assert TRAINERS["mmcv"].read_config(tmp_path, "a.py").problem


def test_a_plan_of_such_a_trainer_config(put: Callable[[Path], Path], tmp_path: Path) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    put(tmp_path / "checkout/a.py")
    assert "a.py" in " ".join(stage_plan(StageContext(disk.config(), "r", "s")).notes)


def test_what_was_submitted(
    put: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(submitted.SUBMITTED_VARIABLE, "0" * 64)
    put(tmp_path / f".snakemake/trainrelay/submitted-{'0' * 64}.json")
    with pytest.raises(Refusal, match="is missing or damaged"):
        submitted.of_this_job()


def test_a_controllers_note(put: Callable[[Path], Path], tmp_path: Path) -> None:
    """Nothing says then whose the lock is."""
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    put(tmp_path / ".snakemake/trainrelay/controller.json")
    assert lock_state("1", []) == "held"


@pytest.mark.process  # git
def test_an_analysis(put: Callable[[Path], Path], tmp_path: Path) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    path = put(disk.paths.analysis)
    if path.exists():
        with pytest.raises(UserError, match=r"analysis\.json is damaged"):
            write_report(disk.config(), "r")
