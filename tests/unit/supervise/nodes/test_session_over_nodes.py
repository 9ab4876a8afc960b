"""A launch over two nodes, one of which does not answer for a while; the trainer is a toy."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from support.fake_slurm import FakeSlurm
from support.supervising import Alone, toy_job
from trainrelay.supervise import nodes, train
from trainrelay.supervise.decide import FINISH
from trainrelay.training.attempts import list_attempts

pytestmark = pytest.mark.process


def test_no_attempt_is_spent_on_a_node_that_is_lost(
    slurm: FakeSlurm, tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although one attempt without a new checkpoint would already end the launch."""
    monkeypatch.setattr(nodes, "_AGAIN_S", 0.05)
    job = toy_job(tmp_path, templates, most_without_checkpoint=1)
    job = replace(job, request=replace(job.request, nodes=2, step_name="trainrelay:toy/stage1"))
    slurm.lose_a_node(for_calls=5)
    output = io.StringIO()
    outcome = train(job, Console(file=output, width=500), Alone())
    assert outcome.decision == FINISH
    assert [attempt.end for attempt in list_attempts(job.stage_dir)] == ["done"]
    assert "all 2 nodes answer again" in output.getvalue()
