"""Which file system a folder lies on, and whether checkpoints fit."""

from __future__ import annotations

from pathlib import Path

from trainrelay.preflight import folder_checks, mounts
from trainrelay.preflight.folders import Mount, mount_of, read_mounts, space_check

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - overlay overlay rw,lowerdir=/a
30 22 0:26 / /home rw shared:1 master:2 - nfs4 server:/home rw,vers=4.2
31 30 0:27 / /home/me/my\\040scratch rw - tmpfs tmpfs rw
40 22 0:28 / /data rw - ext4 /dev/sda1 rw
41 22 0:29 / /data rw - lustre 10.0.0.1@o2ib:/data rw
garbage
50 22
"""
KNOWN = read_mounts(MOUNTINFO)


def test_mounts_are_read_with_their_escapes_and_other_lines_left_out() -> None:
    assert [(mount.point, mount.type) for mount in KNOWN] == [
        ("/", "overlay"),
        ("/home", "nfs4"),
        ("/home/me/my scratch", "tmpfs"),
        ("/data", "ext4"),
        ("/data", "lustre"),
    ]


def test_the_nearest_mount_counts_and_of_two_at_one_point_the_later() -> None:
    assert mount_of(Path("/home/me/runs"), KNOWN) == Mount("/home", "nfs4")
    assert mount_of(Path("/home/me/my scratch/runs"), KNOWN) == Mount("/home/me/my scratch", "tmpfs")
    assert mount_of(Path("/homeless"), KNOWN) == Mount("/", "overlay")
    assert mount_of(Path("/data/x"), KNOWN) == Mount("/data", "lustre")


def test_a_shared_folder_is_ok_and_a_local_one_likely_a_mistake() -> None:
    folders = {"out": Path("/home/me/runs"), "this folder": Path("/home/me"), "checkout": Path("/opt/uniad")}
    assert [found.line() for found in folder_checks(folders, KNOWN)] == [
        "ok    on a file system of type nfs4 (mounted at /home): this folder /home/me",
        "note  checkout /opt/uniad: on overlay (mounted at /), usually only on this machine; unless every"
        " node sees it, likely a mistake: move it to a shared file system",
    ]


def test_where_mounts_cannot_be_read_nothing_is_said(tmp_path: Path) -> None:
    assert folder_checks({"out": tmp_path}, mounts(tmp_path / "missing")) == []
    assert mounts() != []


def test_room_is_judged_by_the_size_of_the_newest_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "not/there/yet"
    assert space_check(folder, 1000, 5).line().startswith("ok    ")
    assert "enough for 5 checkpoints of 0.00 GB (a quota may allow less)" in space_check(folder, 1000, 5).what
    assert "size is not known" in space_check(folder, None, 5).what
    assert space_check(folder, 10**18, 1).line().startswith("fix   ")
    assert space_check(folder, 1000, 10**18).line().startswith("note  ")
