"""Trainings over two nodes of a real Slurm: one launcher on each, one of them lost, one rank killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from slurm.demo_runs import started
from slurm.rig import Rig, daemons, wait_for
from support.processes import ranks_of
from support.project import Project

pytestmark = pytest.mark.slow

_STEP = re.compile(r"Epoch \[(\d+)\]\[(\d+)/(\d+)\]")


def over_two_nodes(data: dict[str, Any]) -> None:
    """Stage 1 on both nodes, a rank on each."""
    run = data["runs"]["driving"]
    run["trainer"]["nproc_per_node"] = 1
    gpus = {"gpu": 8, "gpu_model": "a40", "runtime_min": 15}
    run["stages"]["stage1"]["resources"] = {"nodes": 2, "partition": "both", **gpus}


def longer(data: dict[str, Any]) -> None:
    """Long enough to be interrupted."""
    stage = data["runs"]["driving"]["stages"]["stage1"]
    stage["epochs"] = 2
    stage["options"]["data.train.length"] = 96


@pytest.fixture
def project(project: Project) -> Project:
    project.configure(over_two_nodes)
    return project


def stage1_alone(project: Project) -> subprocess.Popen[str]:
    return started(project, "runs/driving/stage1/train.json")


def said(project: Project) -> str:
    logs = [project.folder / "snakemake.log", *sorted(project.stage("stage1").glob("*.log"))]
    logs += sorted((project.folder / ".snakemake/submitit").rglob("*_log.out"))
    return "\n".join(path.read_text() for path in logs if path.is_file())


def attempt(project: Project, number: int) -> dict[str, Any]:
    path = project.stage("stage1") / f"attempts/{number:03d}/attempt.json"
    return dict(json.loads(path.read_text()))


def trainer_log(project: Project, number: int) -> str:
    return (project.stage("stage1") / f"attempts/{number:03d}/trainer.log").read_text()


def steps(project: Project, number: int) -> list[tuple[int, int, int]]:
    """Epoch, iteration and the epoch's length, of each progress line of an attempt."""
    return [(int(m[1]), int(m[2]), int(m[3])) for m in _STEP.finditer(trainer_log(project, number))]


def saved(project: Project, epoch: int) -> Callable[[], bool]:
    return (project.stage("stage1") / f"work_dir/epoch_{epoch}.pth").exists


def rank_on(project: Project, node: str) -> psutil.Process:
    """The one process that trains on a node, as Slurm told it its node's name."""
    found = [process for process in ranks_of(project) if _is_rank(process, node)]
    assert found, f"no rank on {node}"
    return min(found, key=lambda process: process.create_time())


def _is_rank(process: psutil.Process, node: str) -> bool:
    seen = daemons.variables(process)
    return seen.get("SLURMD_NODENAME") == node and "LOCAL_RANK" in seen


def second_node(rig: Rig) -> str:
    return rig.booted().nodes[1]


def test_a_training_over_two_nodes_has_a_rank_on_each_and_half_the_iterations(
    clean_rig: Rig, project: Project
) -> None:
    project.configure(
        lambda data: data["runs"]["driving"]["stages"]["stage1"].update(backends=["nccl", "gloo"], epochs=1)
    )
    running = stage1_alone(project)
    wait_for(lambda: len(nodes_training(clean_rig, project)) == 2, "a rank on each node")
    assert running.wait() == 0, said(project)
    record = attempt(project, 1)
    assert (record["world_size"], record["backend"], record["end"]) == (2, "gloo", "done")
    # Both nodes' ranks talked in the probe before, where nccl found no GPU.
    assert [probe["outcome"] for probe in record["probes"]] == ["fails", "works"]
    # Each of the two ranks trained half of the scenes.
    scenes, per_step = 48, int(re.findall(r"samples_per_gpu=(\d+)", trainer_log(project, 1))[0])
    assert {length for _, _, length in steps(project, 1)} == {scenes // (2 * per_step)}
    (job,) = clean_rig.sacct(None, "JobName,AllocTRES", "--allocations")[-1:]
    assert "gres/gpu:a40=16" in job["AllocTRES"]
    assert ranks_of(project) == []


def nodes_training(rig: Rig, project: Project) -> list[str]:
    trains = [daemons.variables(process) for process in ranks_of(project)]
    return [
        node
        for node in rig.booted().nodes
        if any(seen.get("SLURMD_NODENAME") == node and "LOCAL_RANK" in seen for seen in trains)
    ]


@pytest.mark.long
def test_a_rank_killed_on_the_second_node_is_tried_again_in_the_same_job(
    clean_rig: Rig, project: Project
) -> None:
    project.configure(longer)
    running = stage1_alone(project)
    wait_for(saved(project, 1), "the first epoch")
    rank_on(project, second_node(clean_rig)).send_signal(signal.SIGKILL)
    assert running.wait() == 0, said(project)
    first, second = attempt(project, 1), attempt(project, 2)
    assert first["end"] == "killed", first["reason"]
    assert "rank 1" in first["reason"]
    assert second["end"] == "done"
    assert second["resumed_from"]["epoch"] >= 1
    assert said(project).count(" submitted; log:") == 1
    assert ranks_of(project) == []


@pytest.mark.long
def test_ctrl_c_stops_the_ranks_of_both_nodes_with_grace(clean_rig: Rig, project: Project) -> None:
    project.configure(longer)
    running = stage1_alone(project)
    wait_for(saved(project, 1), "the first epoch")
    running.send_signal(signal.SIGINT)
    assert running.wait() != 0
    wait_for(lambda: not clean_rig.live(), "the end of every job")
    assert ranks_of(project) == []
    assert attempt(project, 1)["end"] == "interrupted"
    assert "SignalException: Process" in trainer_log(project, 1)  # what torch's launcher says of a SIGTERM


@pytest.mark.long
def test_a_lost_node_costs_one_checkpoint_interval_and_the_job_goes_on_under_its_id(
    clean_rig: Rig, project: Project
) -> None:
    project.configure(longer)
    running = stage1_alone(project)
    wait_for(saved(project, 1), "the first epoch")
    node = second_node(clean_rig)
    old = lose(clean_rig, project, node)
    wait_for(lambda: "DOWN" in node_state(clean_rig, node), "Slurm to notice")
    wait_for(lambda: not ranks_of(project), "the end of the ranks on the other node")
    newest = max(epoch for epoch in range(1, 3) if saved(project, epoch)())
    stamps = written(project)
    clean_rig.start(f"slurmd.{node}")
    assert running.wait() == 0, said(project)
    assert not [process for process in old if process.is_running()]
    assert attempt(project, project.attempts()["stage1"])["end"] == "done"
    # At most the interval between two checkpoints, an epoch, was trained twice.
    assert attempt(project, 2)["resumed_from"]["epoch"] == newest
    assert steps(project, 2)[0][:2] == (newest + 1, 1)
    assert steps(project, 1)[-1][0] <= newest + 1
    # What the old run left is as it left it.
    assert {path: stamp for path, stamp in written(project).items() if path in stamps} == stamps
    assert said(project).count(" submitted; log:") == 1


def lose(rig: Rig, project: Project, node: str) -> list[psutil.Process]:
    """A node without power: neither Slurm's daemon nor what it had started is there any more."""
    rank = rank_on(project, node)
    tree = [process for process in rank.parents() if process.name() != "slurmd" and _of_slurm(process, node)]
    rig.stop(f"slurmd.{node}", kill=True)
    gone = [rank, *tree, *rank.children(recursive=True)]
    for process in [*tree, *gone]:
        if process.is_running():
            process.kill()
    return gone


def _of_slurm(process: psutil.Process, node: str) -> bool:
    return process.name().startswith("slurmstepd") or (
        daemons.variables(process).get("SLURMD_NODENAME") == node
    )


def node_state(rig: Rig, node: str) -> str:
    return rig.scontrol("show", "node", node, "--oneliner")


def written(project: Project) -> dict[Path, tuple[int, int]]:
    """Size and time of each checkpoint."""
    found = project.stage("stage1").glob("work_dir/epoch_*.pth")
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}
