"""The driving demo on the rig: a controller of it in the background, and what that printed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from support.project import Project

POLL = ("--submitit-poll-interval-s", "2")
PROFILE = ("--profile", "profiles/slurm", *POLL)


def on_eight_gpus(data: dict[str, Any]) -> None:
    """The demo trains on the CPU; its jobs get the rig's GPUs anyway."""
    for stage in data["runs"]["driving"]["stages"].values():
        stage["resources"] = {"gpu": 8, "gpu_model": "a40", "runtime_min": 15}


def started(project: Project, *arguments: str, profile: tuple[str, ...] = PROFILE) -> subprocess.Popen[str]:
    """A controller in the background."""
    with (project.folder / "snakemake.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *profile, *arguments],
            cwd=project.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def said(project: Project) -> str:
    """What its controllers printed."""
    return (project.folder / "snakemake.log").read_text()
