"""A start over several nodes waits until every node answers."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from support.fake_slurm import FakeSlurm
from support.supervising import eventually
from trainrelay.errors import Interrupted
from trainrelay.supervise import nodes
from trainrelay.supervise.nodes import wait_for_nodes
from trainrelay.trainers import LaunchRequest, srun

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_AGAIN_S", 0.05)


def test_a_node_that_comes_back_is_waited_for_and_both_are_told(
    slurm: FakeSlurm, two_nodes: LaunchRequest
) -> None:
    slurm.lose_a_node(for_calls=2)
    told: list[str] = []
    wait_for_nodes(two_nodes, told.append, lambda: False)
    assert len(told) == 2
    assert told[0].startswith("warning: srun failed: Task launch for StepId=4711.2 failed on node node2")
    assert told[1] == "all 2 nodes answer again"


def test_a_request_to_stop_ends_the_waiting(slurm: FakeSlurm, two_nodes: LaunchRequest) -> None:
    slurm.lose_a_node()
    told: list[str] = []
    with pytest.raises(Interrupted, match="not every node of this job answers: srun failed: Task launch"):
        wait_for_nodes(two_nodes, told.append, lambda: bool(told))


def test_the_waiting_ends_when_nothing_happens_for_long(
    slurm: FakeSlurm, two_nodes: LaunchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_PATIENCE_S", 0.0)
    slurm.lose_a_node()
    with pytest.raises(Interrupted, match="a relaunch resumes"):
        wait_for_nodes(two_nodes, lambda _: None, lambda: False)


def test_a_step_that_another_supervisor_left_is_ended_first(
    slurm: FakeSlurm, two_nodes: LaunchRequest
) -> None:
    """Another stage's step in the same job is left alone."""
    other = replace(two_nodes, step_name="trainrelay:r/other")
    left: list[subprocess.Popen[bytes]] = []
    for request in (two_nodes, other):  # one after the other: the fake keeps its steps in one file
        left.append(subprocess.Popen([*srun(request), "sleep", "1000"]))
        eventually(lambda: len(slurm.steps()) == len(left))
    wait_for_nodes(two_nodes, lambda _: None, lambda: False)
    assert left[0].wait() != 0
    assert slurm.steps() == ["trainrelay:r/other"]
    left[1].terminate()
    left[1].wait()


def test_one_node_asks_nobody(two_nodes: LaunchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    wait_for_nodes(replace(two_nodes, nodes=1), lambda _: None, lambda: False)
