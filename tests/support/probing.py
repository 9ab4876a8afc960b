"""A stage of two ranks on the CPU, and rungs on which its ranks misbehave."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trainrelay.trainers import RUNGS, LaunchRequest, Rung

# Python imports it at its start; PYTHONPATH holds the checkout first.
HABITS = """
import os
import signal
import time

habit = os.environ.get("HABIT")
if habit:
    import torch.distributed as dist

    heard = dist.all_reduce

    def all_reduce(tensor):
        if dist.get_rank() == 1 and habit == "sleeps":
            time.sleep(10_000)
        if dist.get_rank() == 1 and habit == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        heard(tensor)
        if dist.get_rank() == 1 and habit == "corrupts":
            tensor[7] += 1

    dist.all_reduce = all_reduce
"""


def probe_request(root: Path, **changes: Any) -> LaunchRequest:
    """Two ranks on the CPU, in a checkout that is made here."""
    root.mkdir()
    (root / "sitecustomize.py").write_text(HABITS)
    values: dict[str, Any] = {
        "root": str(root),
        "interpreter": sys.executable,
        "launch_module": "torch.distributed.run",
        "entry": "train.py",
        "config": "a.py",
        "work_dir": "w",
        "nproc_per_node": 2,
        "nodes": 1,
        "rung": RUNGS["nccl"],
        "master_port": None,
        "epochs": 1,
        "device": "cpu",
        "env": {"OMP_NUM_THREADS": "1"},
    }
    return LaunchRequest(**{**values, **changes})


def habit(name: str) -> Rung:
    """gloo, with ranks that misbehave."""
    return Rung(f"gloo-that-{name}", "gloo", {"HABIT": name})
