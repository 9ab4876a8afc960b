"""Which file system a folder lies on, and whether checkpoints fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from trainrelay.preflight.folders import folder_checks, mount_of, mounts, space_check

KNOWN = {"/": "overlay", "/home": "nfs4", "/home/me/my scratch": "tmpfs", "/data": "lustre"}


def test_the_nearest_mount_counts() -> None:
    assert mount_of(Path("/home/me/runs"), KNOWN) == "/home"
    assert mount_of(Path("/home/me/my scratch/runs"), KNOWN) == "/home/me/my scratch"
    assert mount_of(Path("/homeless"), KNOWN) == "/"


def test_of_two_mounts_at_one_point_the_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [SimpleNamespace(mountpoint="/data", fstype=kind) for kind in ("ext4", "lustre")]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: there)
    assert mounts() == {"/data": "lustre"}


def test_a_shared_folder_is_ok_and_a_local_one_likely_a_mistake() -> None:
    folders = {"out": Path("/home/me/runs"), "this folder": Path("/home/me"), "checkout": Path("/opt/uniad")}
    assert [found.line() for found in folder_checks(folders, KNOWN)] == [
        "ok    on a file system of type nfs4 (mounted at /home): this folder /home/me",
        "note  checkout /opt/uniad: on overlay (mounted at /), usually only on this machine; unless every"
        " node sees it, likely a mistake: move it to a shared file system",
    ]


def test_what_is_mounted_here_is_known() -> None:
    assert mount_of(Path("/proc/self"), known := mounts()) == "/proc"
    assert known["/proc"] == "proc"


def test_where_mounts_cannot_be_read_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.PROCFS_PATH", str(tmp_path / "missing"))
    assert folder_checks({"out": tmp_path}, mounts()) == []


def test_room_is_judged_by_the_size_of_the_newest_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "not/there/yet"
    assert space_check(folder, 1000, 5).line().startswith("ok    ")
    assert "enough for 5 checkpoints of 0.00 GB (a quota may allow less)" in space_check(folder, 1000, 5).what
    assert "size is not known" in space_check(folder, None, 5).what
    assert space_check(folder, 10**18, 1).line().startswith("fix   ")
    assert space_check(folder, 1000, 10**18).line().startswith("note  ")
