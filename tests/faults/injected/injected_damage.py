"""What a checkpoint can be instead of valid; rank 0 makes it so and is killed, as by a write cut short."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from injected_stamps import HERE, checkpoints, stamp


class Payload:
    """What runs if you load it without a guard: a file called `ran` appears."""

    def __reduce__(self) -> Any:
        return open, (str(HERE / "ran"), "w")


def truncated(path: Path) -> None:
    """Half of it reached the disk."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """None of it did."""
    os.truncate(path, 0)


def nan(path: Path) -> None:
    """No weight is a number."""
    whole = torch.load(path, weights_only=False)
    for weight in whole["state_dict"].values():
        if weight.is_floating_point():
            weight.fill_(float("nan"))
    torch.save(whole, path)


def malicious(path: Path) -> None:
    """Whole, with something in it that runs; a copy is kept as malicious.pth."""
    torch.save({**torch.load(path, weights_only=False), "payload": Payload()}, path)
    shutil.copy(path, HERE / "malicious.pth")


def hiding(path: Path) -> None:
    """Valid for a reader that minds the case of names; torch does not, and finds a pickle that runs."""
    evil = pickle.dumps({"payload": Payload()}, protocol=2)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].partition("/")[0] + "/DATA.PKL", evil)
    for number in range(9):  # which of the two torch finds depends on how many members there are
        if torch._C.PyTorchFileReader(str(path)).get_record("data.pkl") == evil:
            break
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/zz{number}", b"")
    shutil.copy(path, HERE / "malicious.pth")


def dangling(path: Path) -> None:
    """latest.pth names a file that is not there."""
    latest = path.with_name("latest.pth")
    latest.unlink()
    latest.symlink_to("epoch_9.pth")


def _then_killed(damage: Callable[[Path], None], newest: slice) -> Callable[[Any], None]:
    def injected(runner: Any) -> None:
        paths = sorted(Path(runner.work_dir).glob("epoch_*.pth"), key=lambda path: path.stat().st_mtime_ns)
        for path in paths[newest]:
            damage(path)
        stamp("damaged", checkpoints=checkpoints(runner.work_dir))
        os.kill(os.getpid(), signal.SIGKILL)

    return injected


NEWEST, ALL = slice(-1, None), slice(None)
KINDS = {
    "newest-truncated": _then_killed(truncated, NEWEST),
    "newest-empty": _then_killed(empty, NEWEST),
    "newest-nan": _then_killed(nan, NEWEST),
    "newest-malicious": _then_killed(malicious, NEWEST),
    "newest-hiding": _then_killed(hiding, NEWEST),
    "every-one-truncated": _then_killed(truncated, ALL),
    "latest-dangling": _then_killed(dangling, NEWEST),
}
