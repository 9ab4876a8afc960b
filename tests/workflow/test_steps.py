"""The driving demo ended within an epoch, by a kill and each kind of stop, and continued at the step."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.processes import ranks_of, wait_for
from support.project import TIMEOUT_S, Project, make_project
from trainrelay.records import AttemptRecord
from trainrelay.training.attempts import list_attempts
from trainrelay.training.step_checkpoints import read_steps

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("trained")]
LENGTH = 6  # iterations of an epoch
_ROW = re.compile(r"Epoch \[(\d+)\]\[(\d+)/6\].* loss: (\S+), grad_norm: (\S+)")


def train(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainrelay", "train", "driving/stage1"],
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(project: Project, attempt: int | None = None) -> list[tuple[int, tuple[str, str]]]:
    """Step, loss and gradient norm of each line."""
    name = "*" if attempt is None else f"{attempt:03d}"
    logs = sorted(project.stage("stage1").glob(f"attempts/{name}/trainer.log"))
    found = (_ROW.search(line) for log in logs for line in log.read_text().splitlines())
    return [((int(at[1]) - 1) * LENGTH + int(at[2]), (at[3], at[4])) for at in found if at]


def steps(project: Project, attempt: int) -> list[int]:
    found, _ = read_steps(project.stage("stage1"))
    return [one.manifest.step for one in found if one.folder.parts[-3] == f"{attempt:03d}"]


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


def weights(folder: Path) -> Any:
    torch = pytest.importorskip("torch")
    saved = torch.load(folder / "epoch_2.pth", weights_only=False)
    return {"weights": saved["state_dict"], "optimizer": saved["optimizer"]["state"]}


def same(one: Any, other: Any) -> bool:
    """Bit by bit."""
    torch = pytest.importorskip("torch")
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(torch.equal(one, other)) if isinstance(one, torch.Tensor) else bool(one == other)


def stopped(project: Project, running: subprocess.Popen[str], attempt: int) -> None:
    """It has ended, and at most one step after its step checkpoint was trained."""
    _, said = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 75, said
    step, *_ = steps(project, attempt)
    assert re.search(rf"saved in epoch \d after iteration \d \(step {step}\)", said), said
    assert re.search(rf"to resume in epoch \d after iteration \d \(step {step}\)\.", said), said
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
    reference = trained.stage("stage1") / "work_dir"
    assert same(weights(project.stage("stage1") / "work_dir"), weights(reference))
    assert dict(rows(project)) == dict(rows(trained))
    assert {loss for step, loss in rows(project)} == {loss for _, loss in rows(trained)}
    assert read_steps(project.stage("stage1"))[0] == []
    project.trainrelay("analyze", "driving/stage1")
    findings = json.loads((project.stage("stage1") / "analysis.json").read_text())["findings"]
    assert not [one for one in findings if one["check"] in ("resume", "progress") and one["blocking"]]


def stop(project: Project) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "trainrelay", "stop", "driving/stage1"]
    return subprocess.Popen(words, cwd=project.folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
