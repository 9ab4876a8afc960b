"""The driving demo ended within an epoch, by a kill and each kind of stop, and continued at the step."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.processes import ranks_of, wait_for
from support.project import TIMEOUT_S, Project, make_project
from support.step_training import rows, same, steps, stop, train, weights
from trainrelay.records import AttemptRecord
from trainrelay.training.attempts import list_attempts
from trainrelay.training.step_checkpoints import read_steps

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("trained")]

PLACE = r"(in epoch \d after iteration \d|at the end of epoch \d)"


def attempts(project: Project) -> tuple[AttemptRecord, ...]:
    return list_attempts(project.stage("stage1"))


def asked_within(project: Project, attempt: int, ask: Any) -> None:
    """The request comes while the ranks stand still, so the rest of the training cannot be over before."""
    wait_for(lambda: rows(project, attempt))
    for rank in ranks_of(project):
        rank.suspend()
    ask()
    wait_for((project.stage("stage1") / f"attempts/{attempt:03d}/hook/save-now").exists)
    for rank in ranks_of(project):
        rank.resume()


def stopped(project: Project, running: subprocess.Popen[str], attempt: int) -> None:
    """It has ended, and at most one step after its step checkpoint was trained."""
    _, said = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 75, said
    step, *_ = steps(project, attempt)
    assert re.search(rf"saved {PLACE} \(step {step}\)", said), said
    assert re.search(rf"to resume {PLACE} \(step {step}\)\.", said), said
    assert step <= rows(project, attempt)[-1][0] <= step + 1
    assert ranks_of(project) == []


def test_killed_and_stopped_within_an_epoch_it_trains_the_same(trained: Project, tmp_path: Path) -> None:
    """A rank killed, then Ctrl-C, then `trainrelay stop`: weights, optimizer and log as without."""
    config: dict[str, Any] = {}
    trained.configure(config.update)
    config["runs"]["driving"]["stages"]["stage1"]["checkpoint_interval_min"] = 0.001
    project = make_project(tmp_path / "my müddle project", config)
    running = train(project)
    wait_for(lambda: steps(project, 1))
    victim = next(process for process in ranks_of(project) if process.environ().get("RANK") == "1")
    os.kill(victim.pid, signal.SIGKILL)
    asked_within(project, 2, lambda: running.send_signal(signal.SIGINT))
    stopped(project, running, 2)
    running = train(project)
    asked_within(project, 3, lambda: stop(project))
    stopped(project, running, 3)
    assert train(project).wait(timeout=TIMEOUT_S) == 0
    found = attempts(project)
    assert [one.end for one in found] == ["killed", "interrupted", "interrupted", "done"]
    began = [one.resumed_step.step if one.resumed_step else 0 for one in found]
    assert began == sorted(set(began)), "each continues further on than the one before"
    assert [one.hook_problems for one in found] == [()] * 4
    assert same(weights(project), weights(trained))
    assert dict(rows(project)) == dict(rows(trained))
    assert set(rows(project)) == set(rows(trained))
    assert read_steps(project.stage("stage1"))[0] == []
    project.trainrelay("analyze", "driving/stage1")
    findings = json.loads((project.stage("stage1") / "analysis.json").read_text())["findings"]
    assert not [one for one in findings if one["check"] in ("resume", "progress") and one["blocking"]]
