"""What commit 4416c26 left of real trainings: a complete stage, and two that were stopped in epoch 2.

Their records are as they were written, with placeholders for the machine's paths; what is large is packed.
"""

from __future__ import annotations

import lzma
import shutil
import sys
from pathlib import Path

from support.project import Project, make_project

_FILES = Path(__file__).with_name("runs_4416c26")


def make_old_project(folder: Path) -> Project:
    """A project of today with the trainings, the config and the trainer configs of that commit."""
    project = make_project(folder)
    filled = {
        "{project}": str(folder),
        "{python}": sys.executable,
        "{source}": "workflow/src",
        "{venv}": sys.prefix,
    }
    for file in sorted(path for path in _FILES.rglob("*") if path.is_file()):
        data = lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()
        target = folder / str(file.relative_to(_FILES)).removesuffix(".xz").removesuffix(".txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix != ".pth":
            for placeholder, text in filled.items():
                data = data.replace(placeholder.encode(), text.encode())
        target.write_bytes(data)
    driving, pose = folder / "runs/driving/stage1", folder / "runs/keypoints/pose/work_dir"
    copies = {
        folder / "workflow/demo/driving/ckpts/track_map.pth": driving / "work_dir/epoch_2.pth",
        pose / "checkpoint.pth": pose / "checkpoint0000.pth",
    }
    for copy, original in copies.items():
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(original, copy)
    return project
