"""`notify` of site.yaml is told what no job could tell, by the `snakemake` that started it: once each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from support.project import Project, make_project
from trainrelay.training.launch_id import LAUNCH_VARIABLE, OF_CONTROLLER

pytestmark = [pytest.mark.process, pytest.mark.slow]

CONTROLLER = {LAUNCH_VARIABLE: f"{OF_CONTROLLER}7"}
TAKES = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read().replace('\\n', ' ') + '\\n')"
# A script whose parent is the supervisor: no launcher is between them.
ENDS = """
import os, signal, sys
if sys.argv[1:] == ["--kill"]:
    os.kill(os.getppid(), signal.SIGKILL)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One stage of a script, and a command that writes down what it is told."""
    trainer: dict[str, Any] = {
        "kind": "script",
        "root": str(tmp_path),
        "entry": "ends.py",
        "interpreter": sys.executable,
        "nproc_per_node": 1,
        "device": "cpu",
        "script": {"command": "{interpreter} {entry} --kill", "init": "--init {init_checkpoint}"},
    }
    stage = {"config": "ends.py", "epochs": 1, "backends": ["gloo"], "hook": False}
    two = {**stage, "init_from": "one", "work_dir": "foreign"}
    project = make_project(
        tmp_path / "here", {"runs": {"mine": {"trainer": trainer, "stages": {"one": stage}}}}
    )
    project.configure(lambda data: data["runs"]["mine"]["stages"].update(two=two))
    (tmp_path / "ends.py").write_text(ENDS)
    listen(project)
    return project


def listen(project: Project, *argv: str) -> None:
    words = argv or (sys.executable, "-c", TAKES, str(project.folder / "told me"))
    (project.folder / "site.yaml").write_text(json.dumps({"notify": words}))


def told(project: Project) -> list[dict[str, Any]]:
    path = project.folder / "told me"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def snakemake(project: Project, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = project.run("snakemake", "--cores", "1", *arguments, env=env)
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_a_controller_that_is_a_job_tells_what_is_refused_before_anything_starts(project: Project) -> None:
    """Again after each of its requeues, but it is told once; who types snakemake reads it."""
    foreign = project.folder.parent / "foreign"
    foreign.mkdir()
    (foreign / "epoch_1.pth").write_bytes(b"mine")
    assert "nothing was started." in snakemake(project)
    assert told(project) == []
    for _ in range(2):
        assert "nothing was started." in snakemake(project, env=CONTROLLER)
    (notice,) = told(project)
    assert (notice["event"], notice["stage"], notice["attempt"]) == ("needs you", "two", None)
    assert "foreign" in notice["text"]


def test_a_supervisor_that_is_killed_is_told_by_snakemake(project: Project) -> None:
    """As the kernel does where memory runs out: no supervisor is left that could."""
    snakemake(project, "--until", "train_one")
    (notice,) = told(project)
    assert (notice["event"], notice["stage"], notice["attempt"]) == ("needs you", "one", 1)
    assert "attempt 1 was not seen to end" in notice["text"]


def test_a_job_that_ends_before_trainrelay_begins_is_told_by_snakemake(project: Project) -> None:
    """As one of a cluster does whose setup line fails; here its shell finds no such Python."""
    gone = project.folder / "no python"
    snakefile = project.folder / "workflow/rules/common.smk"
    snakefile.write_text(snakefile.read_text().replace("COMMAND = dag.command()", f"COMMAND = {str(gone)!r}"))
    snakemake(project, "--until", "train_one")
    (notice,) = told(project)
    assert notice["attempt"] is None
    assert "no attempt began" in notice["text"]


def test_what_a_job_told_itself_is_not_told_again(project: Project) -> None:
    """A start that is refused for a missing file."""
    (project.folder.parent / "ends.py").unlink()
    for _ in range(2):
        snakemake(project, "--until", "train_one")
    (notice,) = told(project)
    assert "ends.py" in notice["text"]
    assert "its job failed" not in notice["text"]
