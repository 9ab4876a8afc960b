"""Where folders are: on a file system that other nodes can see, with room for the checkpoints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from trainrelay.preflight.check_result import CheckResult, fix, note, ok

# File systems of one machine, which others cannot see. What is not listed here may be shared.
_LOCAL = {
    *("tmpfs", "ramfs", "overlay", "aufs", "squashfs", "devtmpfs"),
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "vfat", "ntfs"),
}
_GB = 1e9  # bytes, as disks are sold
_LEAST = 2  # checkpoints: the newest and the one that is being written


def mounts() -> dict[str, str]:
    """Types of what is mounted, by where; of two at one point the later one. Empty if that cannot be read."""
    try:
        return {one.mountpoint: one.fstype for one in psutil.disk_partitions(all=True)}
    except OSError:
        return {}


def mount_of(path: Path, known: Iterable[str]) -> str | None:
    """Of these mount points the one that an absolute, resolved path is on."""
    over = (point for point in known if path.is_relative_to(point))
    return max(over, key=lambda point: len(Path(point).parts), default=None)


def folder_checks(folders: Mapping[str, Path], known: Mapping[str, str]) -> list[CheckResult]:
    """Whether other nodes can see the folders, by what they are for; one line per mount."""
    on: dict[str, dict[str, Path]] = {}
    for what, folder in folders.items():
        if point := mount_of(folder.resolve(), known):
            on.setdefault(point, {})[what] = folder.resolve()
    return [_shared(point, known[point], _listed(there)) for point, there in on.items()]


def _listed(folders: Mapping[str, Path]) -> str:
    """Those that are not inside another one of them, each once."""
    outer: dict[Path, str] = {}
    for what, folder in folders.items():
        if not any(folder.is_relative_to(other) and folder != other for other in folders.values()):
            outer.setdefault(folder, what)
    return ", ".join(f"{what} {folder}" for folder, what in outer.items())


def _shared(point: str, kind: str, whats: str) -> CheckResult:
    if kind not in _LOCAL:
        return ok(f"on a file system of type {kind} (mounted at {point}): {whats}")
    why = f"{whats}: on {kind} (mounted at {point}), usually only on this machine"
    return note(f"{why}; unless every node sees it, likely a mistake: move it to a shared file system")


def space_check(folder: Path, size_bytes: int | None, checkpoints: int, freed: int = 0) -> CheckResult:
    """Whether so many checkpoints of this size, if known, fit there once `freed` bytes are free, too."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        free_bytes = shutil.disk_usage(place).free + freed
    except OSError as error:
        return fix(f"the work dir {folder} cannot be looked at ({error.strerror})", "set another work_dir")
    if not os.access(place, os.W_OK | os.X_OK):
        return fix(f"{place} is not writable for you", "set another work_dir, or change its permissions")
    free = f"{free_bytes / _GB:.1f} GB free for {folder}{' with what keep removes' if freed else ''}"
    if size_bytes is None:
        return ok(f"{free}; a checkpoint's size is not known before the first one (nor is a quota seen here)")
    size = f"{size_bytes / _GB:.2f} GB"
    if free_bytes < _LEAST * size_bytes:
        return fix(f"{free}, and a checkpoint takes {size}", "make room, or set another work_dir")
    if free_bytes < checkpoints * size_bytes:
        return note(f"{free}; up to {checkpoints} checkpoints of {size} to come do not fit; set keep")
    return ok(f"{free}, enough for {checkpoints} checkpoints of {size} (a quota may allow less)")
