"""The end of an attempt that has processes on several nodes."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from support.fake_slurm import FakeSlurm
from support.supervising import eventually
from trainrelay.supervise import nodes
from trainrelay.supervise.nodes import end_everywhere, steps_of
from trainrelay.supervise.process import start
from trainrelay.system.alive import Kin, find
from trainrelay.trainers import LaunchRequest, srun

pytestmark = pytest.mark.process

# Says that it heard the SIGTERM, and takes a moment to end.
_GRACEFUL = """
import os, signal, sys, time
def end(*_):
    open(f"heard-{os.environ['SLURM_PROCID']}", "w").close(); time.sleep(0.5); sys.exit(0)
signal.signal(signal.SIGTERM, end)
open(f"up-{os.environ['SLURM_PROCID']}", "w").close()
time.sleep(1000)
"""
_DEAF = _GRACEFUL.replace(
    "signal.signal(signal.SIGTERM, end)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
)


def started(request: LaunchRequest, folder: Path, code: str, tag: str) -> None:
    start([*srun(request), sys.executable, "-c", code], {}, str(folder), folder / "log", tag)
    eventually(lambda: all((folder / f"up-{rank}").exists() for rank in range(2)))


@pytest.fixture
def tag() -> str:
    return str(uuid.uuid4())


def test_every_node_is_granted_the_grace(
    slurm: FakeSlurm, two_nodes: LaunchRequest, tmp_path: Path, tag: str
) -> None:
    """srun itself would kill them all for one SIGTERM."""
    started(two_nodes, tmp_path, _GRACEFUL, tag)
    ended = end_everywhere(steps_of(two_nodes), Kin(tag), grace_s=1000)
    assert (ended.left, ended.steps_left) == ((), ())
    assert all((tmp_path / f"heard-{rank}").exists() for rank in range(2))
    assert slurm.told() == ["--quiet --signal=TERM 4711.0"]


def test_after_the_grace_srun_kills_what_is_left_on_every_node(
    slurm: FakeSlurm, two_nodes: LaunchRequest, tmp_path: Path, tag: str
) -> None:
    started(two_nodes, tmp_path, _DEAF, tag)
    ended = end_everywhere(steps_of(two_nodes), Kin(tag), grace_s=0.3)
    assert (ended.left, ended.steps_left) == ((), ())
    assert slurm.steps() == []
    assert find(Kin(tag)) == []


def test_a_step_whose_srun_is_gone_is_ended_too(
    slurm: FakeSlurm, two_nodes: LaunchRequest, tmp_path: Path, tag: str
) -> None:
    """Nothing of it can be seen in /proc of this node: here because its processes carry another tag."""
    started(two_nodes, tmp_path, _DEAF, str(uuid.uuid4()))
    ended = end_everywhere(steps_of(two_nodes), Kin(tag), grace_s=0.0)
    assert (ended.ended, ended.steps_left) == ((), ())
    assert slurm.steps() == []


def test_while_slurm_cannot_be_asked_srun_still_ends_them_and_the_doubt_is_told(
    slurm: FakeSlurm,
    two_nodes: LaunchRequest,
    tmp_path: Path,
    tag: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "_GONE_WITHIN_S", 0.1)
    started(two_nodes, tmp_path, _DEAF, tag)
    slurm.away()
    ended = end_everywhere(steps_of(two_nodes), Kin(tag), grace_s=0.3)
    assert ended.steps_left == ("what Slurm knows as trainrelay:r/s",)
    assert slurm.steps() == []


def test_a_training_on_one_node_has_no_steps(two_nodes: LaunchRequest, slurm: FakeSlurm) -> None:
    assert steps_of(two_nodes) is not None
    assert steps_of(LaunchRequest(**{**_plain(two_nodes), "nodes": 1})) is None


def _plain(request: LaunchRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in request.__slots__}
