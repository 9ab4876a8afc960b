"""Living training processes of a project, and waiting for what must come true."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from support.project import TIMEOUT_S, Project


def ranks_of(project: Project, script: str = "./tools/train.py") -> list[psutil.Process]:
    """Every living process of a training script whose working directory lies in the project."""
    found = []
    for process in psutil.process_iter():
        try:
            if script in process.cmdline() and process.cwd().startswith(str(project.folder)):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(condition: Callable[[], object]) -> None:
    """Returns when the condition is true; fails where it never comes true."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition never came true"
        time.sleep(0.1)


def started(project: Project) -> subprocess.Popen[bytes]:
    """Snakemake in the background, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
