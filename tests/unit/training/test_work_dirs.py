"""A takeover from an owner that may still live: what counts of which work dir."""

from __future__ import annotations

from pathlib import Path

from trainrelay.records import Takeover
from trainrelay.trainers import TRAINERS
from trainrelay.training.work_dirs import WorkDirs

MMCV = TRAINERS["mmcv"]


def saved(folder: Path, *epochs: int) -> None:
    folder.mkdir(exist_ok=True)
    for epoch in epochs:
        (folder / f"epoch_{epoch}.pth").write_bytes(b"weights")


def test_without_a_takeover_the_configs_work_dir_is_the_only_one(tmp_path: Path) -> None:
    saved(tmp_path / "w", 1, 2)
    dirs = WorkDirs(tmp_path / "w")
    assert dirs.current == tmp_path / "w"
    assert [epoch for epoch, _ in dirs.checkpoints(MMCV)] == [2, 1]


def test_a_takeover_writes_to_a_work_dir_of_its_own(tmp_path: Path) -> None:
    dirs = WorkDirs(tmp_path / "w", (Takeover(token=4, after_epoch=2),))
    assert dirs.current == tmp_path / "w.taken-4"
    assert dirs.all == (tmp_path / "w", tmp_path / "w.taken-4")


def test_what_the_old_owner_writes_after_the_takeover_does_not_count(tmp_path: Path) -> None:
    saved(tmp_path / "w", 1, 2, 3, 4)
    saved(tmp_path / "w.taken-4", 3)
    dirs = WorkDirs(tmp_path / "w", (Takeover(token=4, after_epoch=2),))
    assert dirs.checkpoints(MMCV) == [
        (3, tmp_path / "w.taken-4/epoch_3.pth"),
        (2, tmp_path / "w/epoch_2.pth"),
        (1, tmp_path / "w/epoch_1.pth"),
    ]


def test_each_takeover_bounds_the_work_dir_before_it(tmp_path: Path) -> None:
    saved(tmp_path / "w", 1, 2, 3)
    saved(tmp_path / "w.taken-4", 2, 3, 4)
    saved(tmp_path / "w.taken-7", 4)
    dirs = WorkDirs(tmp_path / "w", (Takeover(token=4, after_epoch=1), Takeover(token=7, after_epoch=3)))
    assert [(epoch, path.parent.name) for epoch, path in dirs.checkpoints(MMCV)] == [
        (4, "w.taken-7"),
        (3, "w.taken-4"),
        (2, "w.taken-4"),
        (1, "w"),
    ]


def test_our_copy_comes_after_the_trainers_own_file_of_the_same_epoch(tmp_path: Path) -> None:
    saved(tmp_path / "w", 2, 3)
    saved(tmp_path / "kept", 3)
    dirs = WorkDirs(tmp_path / "w", kept=tmp_path / "kept")
    assert [path.relative_to(tmp_path).parts[0] for _, path in dirs.checkpoints(MMCV)] == ["w", "kept", "w"]
