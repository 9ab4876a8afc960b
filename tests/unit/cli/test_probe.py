"""`trainrelay probe`: every rung of a stage, a table, what the stage would use, and the exit code."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainrelay.cli import main
from trainrelay.config import load_config
from trainrelay.errors import Interrupted
from trainrelay.operations import probe
from trainrelay.records import ProbeResult
from trainrelay.trainers import LaunchRequest, Rung
from trainrelay.training import state
from trainrelay.training.context import StageContext

ERROR = "RuntimeError: Distributed package doesn't have NCCL built in"
SPEEDS = {"nccl-no-p2p": {25: 11.0, 256: 12.345}, "gloo": {25: 1.5, 256: 2.0}, "own": {25: 3.0, 256: 4.0}}
HOST = socket.gethostname()
Probe = Callable[..., ProbeResult]


@pytest.fixture
def configfile(tmp_path: Path) -> Callable[..., Path]:
    def write(**stage: Any) -> Path:
        trainer = {"kind": "mmcv", "root": str(tmp_path), "nproc_per_node": 2, "device": "cpu"}
        settings = {"config": "a.py", "epochs": 1, "backends": ["nccl", "nccl-no-p2p", "gloo"], **stage}
        rungs = {"own": {"backend": "gloo", "env": {"X": "1"}}}
        runs = {"r": {"trainer": trainer, "stages": {"s": settings}}}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"out": str(tmp_path / "runs"), "rungs": rungs, "runs": runs}))
        return path

    return write


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Takes the place of real ranks; `works` names the rungs that do. Returns what is probed, in order."""

    def patch(*works: str) -> list[str]:
        probed: list[str] = []

        def probe_rung(request: LaunchRequest, rung: Rung, log: Path, **_: object) -> ProbeResult:
            probed.append(rung.name)
            return ProbeResult(
                rung=rung.name,
                outcome="works" if rung.name in works else "fails",
                error=None if rung.name in works else ERROR,
                gb_per_s=SPEEDS[rung.name] if rung.name in works else {},
                seconds=1.5,
                log=str(log),
            )

        monkeypatch.setattr(probe, "probe_rung", probe_rung)
        return probed

    return patch


def typed(path: Path, *words: str) -> int:
    return main(["probe", "r/s", *words, "--configfile", str(path)])


def test_every_rung_is_probed_and_the_first_that_works_would_be_used(
    configfile: Callable[..., Path], fake: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    probed = fake("nccl-no-p2p", "gloo")
    assert typed(configfile()) == 0
    assert probed == ["nccl", "nccl-no-p2p", "gloo"]
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "backend      result  GB/s at 25 MB  GB/s at 256 MB  error",
        f"nccl         fails   -              -               {ERROR}",
        "nccl-no-p2p  works   11             12.3",
        "gloo         works   1.5            2",
        f"r/s would use nccl-no-p2p on {HOST}",
    ]
    assert "trainrelay: probing nccl with 2 ranks; 120 s at most" in err


def test_a_machine_where_no_rung_works_exits_2_with_the_table_and_a_sentence(
    configfile: Callable[..., Path], fake: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    fake()
    path = configfile()
    assert typed(path) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert err.splitlines()[-1] == (
        f"trainrelay: r/s cannot train on {HOST}: nccl fails, nccl-no-p2p fails, gloo fails; read the logs"
        f" in {path.parent}/runs/r/s/probe, then set `backends` in the config to what works"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gloo", "r/s would use gloo on"),
        ("own", f"own works on {HOST}; add it to `backends` of r/s to have it used"),
    ],
)
def test_one_rung_alone_may_be_probed_of_the_ladder_or_not(
    configfile: Callable[..., Path],
    fake: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    name: str,
    said: str,
) -> None:
    probed = fake("gloo", "own")
    assert typed(configfile(), "--rung", name) == 0
    assert probed == [name]
    assert said in capsys.readouterr().out


def test_an_unknown_rung_is_refused_with_the_names_there_are(
    configfile: Callable[..., Path], fake: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    probed = fake()
    assert typed(configfile(), "--rung", "glo") == 2
    assert probed == []
    assert capsys.readouterr().err == (
        "trainrelay: --rung glo: no such backend; use one of: nccl, nccl-no-p2p, nccl-no-ib, nccl-no-shm,"
        " gloo, own; did you mean gloo?\n"
    )


def test_json_is_one_object_with_every_result(
    configfile: Callable[..., Path], fake: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    fake("gloo")
    assert typed(configfile(), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["stage"], found["host"], found["works"]) == ("r/s", HOST, "gloo")
    assert [result["outcome"] for result in found["results"]] == ["fails", "fails", "works"]
    assert found["results"][2]["gb_per_s"] == {"25": 1.5, "256": 2.0}


def test_a_stage_that_does_not_probe_is_told_so(
    configfile: Callable[..., Path], fake: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    fake("gloo")
    assert typed(configfile(probe=False)) == 0
    assert "r/s uses nccl anyway: its `probe` is off" in capsys.readouterr().out


def test_ctrl_c_while_probing_is_resumable_and_not_a_traceback(
    configfile: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, stopped: Callable[[], bool], **__: object) -> ProbeResult:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        raise Interrupted("stopped on request while nccl was probed")

    monkeypatch.setattr(probe, "probe_rung", interrupted)
    assert typed(configfile()) == 75
    assert capsys.readouterr().err.endswith("trainrelay: stopped on request while nccl was probed\n")


@pytest.mark.process
def test_a_real_probe_leaves_a_log_and_the_stage_as_fresh_as_it_was(
    configfile: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    path = configfile(backends=["gloo"])
    (path.parent / "a.py").write_text("lr = 1\n")
    assert typed(path) == 0
    assert ["gloo", "works"] in [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert "all_reduce" in (path.parent / "runs/r/s/probe/gloo.log").read_text()
    assert state.judge(state.read(StageContext(load_config(path), "r", "s"))).kind == "fresh"
