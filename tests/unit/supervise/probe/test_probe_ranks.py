"""The probe's script: what it runs on, and which wrong values it notices."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainrelay.supervise.probe import ranks
from trainrelay.supervise.probe.results import rank_progress
from trainrelay.supervise.probe.runner import probe_launch
from trainrelay.trainers import RUNGS, LaunchRequest

torch = pytest.importorskip("torch")
SCRIPT = Path(ranks.__file__)


def test_the_script_is_python_3_8_and_needs_nothing_but_the_standard_library_and_torch() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported <= sys.stdlib_module_names | {"__future__"}
    assert "trainrelay." not in SCRIPT.read_text(encoding="utf-8")


class Double:
    """Stands for torch.distributed, as rank 0 of two sees it; `fault` spoils what all_reduce gives."""

    def __init__(self, fault: Callable[[Any], object]) -> None:
        self._fault = fault

    def barrier(self) -> None:
        """Nobody to wait for."""

    def broadcast(self, tensor: Any, source: int) -> None:
        """Rank 0 hears itself; as any other rank it hears nothing."""

    def all_reduce(self, tensor: Any) -> None:
        tensor.mul_(3)  # rank 1 sends the double of what rank 0 sends
        self._fault(tensor)


def seen_by(fault: Callable[[Any], object], rank: int = 0) -> ranks.Ranks:
    return ranks.Ranks(torch, Double(fault), torch.device("cpu"), rank, world_size=2)


def swap_blocks(tensor: Any) -> None:
    block = tensor[:1024].clone()
    tensor[:1024] = tensor[1024:2048]
    tensor[1024:2048] = block


def test_a_right_sum_passes_and_its_speed_is_measured() -> None:
    assert seen_by(lambda tensor: None).all_reduce(1) > 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda tensor: tensor.div_(3), id="nothing arrives"),
        pytest.param(lambda tensor: tensor.mul_(2), id="everything arrives twice"),
        pytest.param(lambda tensor: tensor[-1].add_(1), id="the last value is off by one"),
        pytest.param(lambda tensor: tensor[5].fill_(float("nan")), id="a NaN"),
        pytest.param(swap_blocks, id="blocks changed places"),
        pytest.param(lambda tensor: tensor[: tensor.numel() // 2].zero_(), id="half of it is missing"),
    ],
)
def test_a_corrupted_sum_is_noticed(fault: Callable[[Any], object]) -> None:
    with pytest.raises(ranks.WrongValuesError, match=r"all_reduce of 1 MB: .* wrong; the first, at"):
        seen_by(fault).all_reduce(1)


def test_a_broadcast_that_does_not_arrive_is_noticed() -> None:
    seen_by(lambda tensor: None, rank=0).broadcast(1)
    with pytest.raises(ranks.WrongValuesError, match="broadcast of 1 MB: 262144 of 262144 values are wrong"):
        seen_by(lambda tensor: None, rank=1).broadcast(1)


def test_the_sum_of_1024_ranks_is_exact_in_float32() -> None:
    """So that a difference is a fault, never a rounding."""
    largest = ranks._PERIOD * sum(ranks._weight(rank) for rank in range(1024))
    assert largest < 2**24


@pytest.mark.process
@pytest.mark.parametrize(
    "module", ["torch.distributed.run", pytest.param("torch.distributed.launch", marks=pytest.mark.long)]
)
def test_torchs_launchers_start_the_ranks(asked: LaunchRequest, module: str) -> None:
    """The command line for GPUs, with the device put to cpu, ends 0 and every rank says that it is done."""
    on_gpus = replace(asked, launch_module=module, device="cuda", rung=RUNGS["gloo"])
    launch = probe_launch(on_gpus, deadline_s=1000)
    assert launch.argv[:4] == (sys.executable, "-u", "-m", module)
    argv = ["cpu" if word == "cuda" else "1" if word == "256" else word for word in launch.argv]
    env = {**os.environ, **launch.env}
    done = subprocess.run(argv, cwd=launch.cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(rank.done for rank in rank_progress(done.stdout.splitlines(), 2))
