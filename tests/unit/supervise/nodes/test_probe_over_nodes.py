"""The probe of a rung over two nodes, with real ranks; each node is a process group of this machine."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from support.fake_slurm import FakeSlurm
from trainrelay.supervise.probe import probe_rung
from trainrelay.supervise.probe.runner import probe_launch
from trainrelay.trainers import RUNGS, LaunchRequest, Rung

pytestmark = pytest.mark.process

pytest.importorskip("torch")


def probed(request: LaunchRequest, rung: Rung, log: Path) -> tuple[str, str | None]:
    result = probe_rung(request, rung, log, deadline_s=300.0, stopped=lambda: False)
    return result.outcome, result.error


def test_all_ranks_of_all_nodes_talk(slurm: FakeSlurm, two_nodes: LaunchRequest, tmp_path: Path) -> None:
    log = tmp_path / "probe.log"
    assert probed(replace(two_nodes, nproc_per_node=2), RUNGS["gloo"], log) == ("works", None)
    said = log.read_text()
    assert all(f'"rank": {rank}, "phase": "barrier"' in said for rank in range(4))
    assert slurm.steps() == []


def test_a_rung_that_fails_on_the_nodes_says_why(
    slurm: FakeSlurm, two_nodes: LaunchRequest, tmp_path: Path
) -> None:
    rung = Rung("gloo-x", "gloo", {"GLOO_SOCKET_IFNAME": "nothere0"})
    outcome, error = probed(two_nodes, rung, tmp_path / "probe.log")
    assert outcome == "fails"
    assert "nothere0" in (error or "")
    assert slurm.steps() == []


@pytest.mark.parametrize(
    "module", ["torch.distributed.run", pytest.param("torch.distributed.launch", marks=pytest.mark.long)]
)
def test_torchs_launchers_on_both_nodes_meet(slurm: FakeSlurm, two_nodes: LaunchRequest, module: str) -> None:
    """The command line for GPUs, with the device put to cpu: every rank says that it is done."""
    launch = probe_launch(replace(two_nodes, launch_module=module, device="cuda"), deadline_s=1000)
    argv = ["cpu" if word == "cuda" else "1" if word == "256" else word for word in launch.argv]
    env = {**os.environ, **launch.env}
    done = subprocess.run(argv, cwd=launch.cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f'{{"rank": {rank}, "phase": "done"' in done.stdout for rank in range(2))
