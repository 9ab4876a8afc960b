"""A Slurm job of two nodes, both of them this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.fake_slurm import FakeSlurm
from trainrelay.trainers import RUNGS, LaunchRequest

STEP = "trainrelay:r/s"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "slurm bin")
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def two_nodes(tmp_path: Path) -> LaunchRequest:
    """A stage of two nodes with a rank on each, on the CPU."""
    return LaunchRequest(
        root=str(tmp_path),
        interpreter=sys.executable,
        launch_module="torch.distributed.run",
        entry="train.py",
        config="config.py",
        work_dir="work_dir",
        nproc_per_node=1,
        nodes=2,
        rung=RUNGS["gloo"],
        master_port=None,
        epochs=2,
        device="cpu",
        step_name=STEP,
    )
