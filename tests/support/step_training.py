"""The driving demo trained by `trainrelay train`, with step checkpoints, and what it came to."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from support.project import Project
from trainrelay.training.step_checkpoints import read_steps

LENGTH = 6  # iterations of an epoch
_ROW = re.compile(r"Epoch(\(val\))? \[(\d+)\]\[(\d+)(?:/\d+)?\]\s*(.*)")
_CLOCKS = re.compile(r"(?:eta|time|data_time|memory): [^,]*, ")


def train(project: Project) -> subprocess.Popen[str]:
    return _begun(project, "train", subprocess.PIPE)


def stop(project: Project) -> subprocess.Popen[str]:
    return _begun(project, "stop", subprocess.DEVNULL)


def _begun(project: Project, verb: str, errors: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainrelay", verb, "driving/stage1"],
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        text=True,
    )


def lines(project: Project, attempt: int | None = None) -> list[tuple[str, int, str]]:
    """Each progress line: its kind, its step and what it logs but for times."""
    name = "*" if attempt is None else f"{attempt:03d}"
    logs = sorted(project.stage("stage1").glob(f"attempts/{name}/trainer.log"))
    found = (_ROW.search(line) for log in logs for line in log.read_text().splitlines())
    return [
        (at[1] or "", (int(at[2]) - 1) * LENGTH + int(at[3]), _CLOCKS.sub("", at[4])) for at in found if at
    ]


def rows(project: Project, attempt: int | None = None) -> list[tuple[int, str]]:
    """Step, and what is logged of it."""
    return [(step, said) for kind, step, said in lines(project, attempt) if not kind]


def steps(project: Project, attempt: int) -> list[int]:
    found, _ = read_steps(project.stage("stage1"))
    return [one.manifest.step for one in found if one.folder.parts[-3] == f"{attempt:03d}"]


def weights(project: Project) -> Any:
    """And the optimizer's state, when it was done."""
    import torch  # noqa: PLC0415

    *_, newest = sorted((project.stage("stage1") / "work_dir").glob("epoch_*.pth"))
    saved = torch.load(newest, weights_only=False)
    return {"weights": saved["state_dict"], "optimizer": saved["optimizer"]["state"]}


def same(one: Any, other: Any) -> bool:
    """Bit by bit."""
    import torch  # noqa: PLC0415

    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(torch.equal(one, other)) if isinstance(one, torch.Tensor) else bool(one == other)
