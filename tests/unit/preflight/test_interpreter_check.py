"""What the trainer's own Python says of itself, and what that amounts to."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from support.project import REPOSITORY
from trainrelay.preflight.check_result import CheckResult
from trainrelay.preflight.interpreter import PythonAnswers, interpreter_check, judge_answers, read_answers
from trainrelay.preflight.interpreter_script import MARK
from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, whole_load
from trainrelay.trainers.argparse_config import _whole_load as found_in

MMCV, METRICLOGGER = TRAINERS["mmcv"], TRAINERS["metriclogger"]
VERSIONS = {"python": "3.8.20", "torch": "1.9.1+cu111", "cuda": "11.1", "mmcv": "1.4.0"}
THERE = {"torch.distributed.run": True, "mmcv._ext": True}
GOOD = PythonAnswers(VERSIONS, {}, THERE, ended=True)


def request_for(root: Path, interpreter: str = sys.executable) -> LaunchRequest:
    return LaunchRequest(
        root=str(root),
        interpreter=interpreter,
        launch_module="torch.distributed.run",
        entry="./train.py",
        config="c.py",
        work_dir="w",
        nproc_per_node=2,
        nodes=1,
        rung=RUNGS["gloo"],
        master_port=None,
        epochs=1,
        device="cpu",
    )


def judged(answers: PythonAnswers, device: str = "cuda", status: int | None = 0) -> CheckResult:
    request = replace(request_for(Path("/uniad"), "/env/bin/python"), device=device)
    return judge_answers(request, MMCV, answers, status, 120.0)


def with_versions(**versions: str) -> PythonAnswers:
    return replace(GOOD, versions={**VERSIONS, **versions})


def test_versions_that_work_together_are_ok_and_shown() -> None:
    assert judged(GOOD).line("uniad") == (
        "ok    uniad: /env/bin/python: Python 3.8.20 with torch 1.9.1+cu111 (CUDA 11.1), mmcv 1.4.0"
    )


@pytest.mark.parametrize(
    ("mmcv", "torch", "works"),
    [
        ("1.4.0", "1.10.2", True),
        ("1.4.0", "1.12.1", False),
        ("1.4.7", "1.11.0+cu113", False),
        ("1.4.8", "1.12.1", True),
        ("1.7.2", "2.13.0", True),
        ("2.1.0", "2.1.0", False),
        ("main", "2.1.0", True),
        ("", "nightly", True),
    ],
)
def test_mmcv_and_torch_that_cannot_run_together_are_told(mmcv: str, torch: str, works: bool) -> None:
    found = judged(with_versions(mmcv=mmcv, torch=torch))
    assert found.kind == ("ok" if works else "fix")
    assert works or "set trainer.interpreter" in found.what


def test_a_torch_for_the_cpu_alone_cannot_train_on_cuda() -> None:
    cpu = with_versions(cuda="")
    assert "built for the CPU alone" in judged(cpu).what
    assert judged(cpu, "cpu").kind == "ok"


def test_a_torch_without_the_runs_launcher_is_told() -> None:
    old = replace(GOOD, there={"torch.distributed.run": False, "mmcv._ext": True})
    assert "its torch 1.9.1+cu111 has no torch.distributed.run" in judged(old).what


def test_what_hangs_and_what_dies_is_named() -> None:
    begun = replace(GOOD, importing="mmcv", ended=False, last_line="Bus error")
    assert judged(begun, status=None).what.startswith(
        "/env/bin/python: import mmcv has not come back after 120 s; it said: Bus error; try it yourself"
    )
    assert "ended in import mmcv with signal 11" in judged(begun, status=-11).what
    assert "ended in its start with exit status 1" in judged(PythonAnswers(), status=1).what


def test_only_whole_answers_behind_the_mark_count() -> None:
    said = (
        f'{MARK}["version", "python", "3.8"]\n{MARK}["importing", "torch", null]\n'
        f'{MARK}not json\n{MARK}[1]\n{MARK}[[], {{}}, 1]\n{MARK}["other", "a", "b"]\n'
        f'  a trainer\'s own words \n{MARK}["importing", "mmcv"'
    )
    told = read_answers(said)
    assert told == PythonAnswers({"python": "3.8"}, {}, {}, "torch", False, "a trainer's own words")


@pytest.mark.process
def test_a_real_interpreter_with_torch_is_ok(tmp_path: Path) -> None:
    found = interpreter_check(request_for(tmp_path), METRICLOGGER, 300.0)
    assert found.kind == "ok", found
    assert f"{sys.executable}: Python 3." in found.what
    assert "with torch " in found.what


@pytest.mark.process
def test_a_module_of_the_checkout_is_found_as_the_trainer_finds_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('a \\x1b[31mbroken one')")
    found = interpreter_check(request_for(tmp_path), METRICLOGGER, 300.0)
    assert found.kind == "fix"
    assert "does not import torch (RuntimeError: a" in found.what
    assert "\x1b" not in found.line()


@pytest.mark.process
@pytest.mark.parametrize(("load", "deadline_s"), [(0.5, 1.0), (2.0, 0.5), (1000.0, 0.2)])
def test_an_import_that_hangs_is_ended_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, deadline_s: float
) -> None:
    """Later where the machine has too much to do, in proportion, and five times as late at most."""
    monkeypatch.setattr(os, "getloadavg", lambda: (load * (os.cpu_count() or 1), 0.0, 0.0))
    (tmp_path / "torch.py").write_text("import time; time.sleep(600)")
    found = interpreter_check(request_for(tmp_path), METRICLOGGER, deadline_s)
    assert "has not come back after 1 s" in found.what


@pytest.mark.process
def test_an_interpreter_that_is_none_is_told(tmp_path: Path) -> None:
    assert "was not found" in interpreter_check(request_for(tmp_path, "/no/python"), MMCV, 3.0).what
    noise = tmp_path / "python"
    noise.write_text("#!/bin/sh\necho no licence\nexit 3\n")
    noise.chmod(0o755)
    found = interpreter_check(request_for(tmp_path, str(noise)), MMCV, 30.0)
    assert "ended in its start with exit status 3; it said: no licence" in found.what


def test_the_script_speaks_the_oldest_python_that_a_trainer_may_run() -> None:
    source = (REPOSITORY / "workflow/src/trainrelay/preflight/interpreter_script.py").read_text()
    compile(source, "interpreter_script.py", "exec")
    import ast  # noqa: PLC0415

    ast.parse(source, feature_version=(3, 8))


# ---------------------------------------------------------------------- checkpoints that torch 2.6 refuses

SCRIPT = """
import argparse, torch
import util.misc as utils
parser = argparse.ArgumentParser()
parser.add_argument("--resume", default="")
args = parser.parse_args()
"""
LOADS = "import torch\ndef load(path):\n    return torch.load(path, map_location='cpu'{})\n"
CURE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def checkout(folder: Path, script: str = SCRIPT, more: str = "") -> LaunchRequest:
    (folder / "util").mkdir(exist_ok=True)
    (folder / "main.py").write_text(script)
    (folder / "util/misc.py").write_text(LOADS.format(more))
    read = METRICLOGGER.read_config(folder, "main.py")
    return replace(request_for(folder), entry="main.py", config="main.py", trainer_config=read)


def test_a_script_that_loads_its_checkpoints_whole_is_found_in_what_it_imports(tmp_path: Path) -> None:
    checkout(tmp_path)
    assert found_in(tmp_path, "main.py") == "util/misc.py, line 3"
    for more in (", weights_only=False", ", weights_only=True", ", **how"):
        checkout(tmp_path, more=more)
        assert found_in(tmp_path, "main.py") is None
    checkout(tmp_path, SCRIPT + "torch.load(args.resume)\n")
    assert found_in(tmp_path, "main.py") == "main.py, line 7"
    assert found_in(tmp_path, "missing.py") is None


@pytest.mark.process
def test_a_resume_that_this_torch_would_refuse_is_told_before_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CURE, raising=False)
    request = checkout(tmp_path)
    found = interpreter_check(request, METRICLOGGER, 300.0)
    assert (found.kind, "util/misc.py, line 3" in found.what) == ("note", True), found
    assert f"set env: {{{CURE}: '1'}} under trainer" in found.what
    cured = replace(request, env={CURE: "1"})
    assert interpreter_check(cured, METRICLOGGER, 300.0).kind == "ok"


@pytest.mark.parametrize(
    ("torch", "told"),
    [("1.13.1", False), ("2.5.1", False), ("2.6.0+cu124", True), ("2.13.0", True), ("", False)],
)
def test_only_a_torch_that_refuses_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str, told: bool
) -> None:
    monkeypatch.delenv(CURE, raising=False)
    assert bool(whole_load(checkout(tmp_path), torch)) == told
