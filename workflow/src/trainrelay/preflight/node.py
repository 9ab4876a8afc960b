"""What a start looks at on the node itself; a refusal only where the trainer could not run."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping
from itertools import takewhile

_NAME = re.compile(r"\d+|(GPU|MIG)-.*")  # of a GPU
_MOST_OPEN = 64  # files of a supervisor, with room to spare
_DEADLINE_S = 30.0  # without persistence mode nvidia-smi first loads the driver


def too_few_gpus(needed: int, environment: Mapping[str, str]) -> str | None:
    """Why the ranks of a node cannot have a GPU each; None: they can, or nobody here knows."""
    visible = visible_gpus(environment.get("CUDA_VISIBLE_DEVICES"), _listed_gpus())
    if visible is None or visible >= needed:
        return None
    seen = "CUDA_VISIBLE_DEVICES=" + environment.get("CUDA_VISIBLE_DEVICES", "(not set)")
    return (
        f"{needed} ranks need a GPU each, and this machine shows {visible} ({seen}); set resources.gpu and"
        " nproc_per_node to what there is, or ask for a node that has more"
    )


def visible_gpus(named: str | None, listed: int | None) -> int | None:
    """GPUs that a trainer will see; None where nobody knows.

    `named`: CUDA_VISIBLE_DEVICES, None where it is not set. `listed`: by the driver, None where it cannot be
    asked.
    """
    if named is None:
        return listed
    # CUDA stops at the first name that is none.
    names = list(takewhile(_NAME.fullmatch, map(str.strip, named.split(","))))
    return len(names) if listed is None else min(len(names), listed)


def _listed_gpus() -> int | None:
    """As the driver lists them; None without a driver, and where GPUs are cut into MIG instances."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, timeout=_DEADLINE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.decode(errors="replace").splitlines()
    if any(line.strip().startswith("MIG ") for line in lines):
        return None
    return sum(line.startswith("GPU ") for line in lines) or None


def too_few_files() -> str | None:
    """Why this process could not see and end the trainer's processes, each of which is a file of /proc."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed >= _MOST_OPEN:
        return None
    return f"only {allowed} files may be open at once, and a training needs more; run: ulimit -n 1024"


def too_few_cores(needed: int) -> str | None:
    """A remark where this process may use fewer CPU cores than the training asked for."""
    usable = len(os.sched_getaffinity(0))
    if usable >= needed:
        return None
    return f"this process may use {usable} CPU cores, {needed} were asked for: data loading may be slow"
