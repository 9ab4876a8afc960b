"""`trainrelay stop` and real supervisors of a toy trainer."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from support.supervising import carrying, eventually, log_text, supervisor, toy_job
from trainrelay.config import Config, parse
from trainrelay.operations.stop import stop_stage
from trainrelay.records import FORMAT, Identity
from trainrelay.supervise import read_events
from trainrelay.system.files import write_json
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext
from trainrelay.training.signature import ingredients
from trainrelay.watching import StageWatch, remarks

pytestmark = pytest.mark.process


def toy_config(folder: Path) -> Config:
    """The config that would make `toy_job`, with its identity on disk."""
    (folder / "a.py").write_text("lr = 1\n")
    trainer = {"kind": "mmcv", "root": str(folder), "nproc_per_node": 2, "device": "cpu"}
    stage = {"config": "a.py", "epochs": 3, "backends": ["gloo"], "work_dir": "work dir ü"}
    config = parse(
        {"out": str(folder / "runs"), "runs": {"toy": {"trainer": trainer, "stages": {"stage1": stage}}}}
    )
    identity = Identity(
        format=FORMAT,
        run="toy",
        stage="stage1",
        ingredients=ingredients(StageContext(config, "toy", "stage1")),
        initial_checkpoint=None,
        work_dir=str(folder / "work dir ü"),
    )
    (folder / "runs/toy/stage1").mkdir(parents=True)
    write_json(folder / "runs/toy/stage1/stage.json", identity)
    return config


def test_a_running_training_ends_resumably_and_the_way_on_is_told(
    tmp_path: Path, templates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_config(tmp_path)
    boss = supervisor(tmp_path, templates, "waits-in-epoch-2", launch=True, leased=True)
    eventually(lambda: "Epoch [2]" in log_text(tmp_path))
    (running,) = list_attempts(toy_job(tmp_path, templates).stage_dir)
    stop_stage(StageContext(config, "toy", "stage1"))
    out, err = capsys.readouterr()
    assert not carrying(running.tag)
    assert "interrupted (stopped on request in epoch 2, after iteration" in out
    assert "It resumes after epoch 1: run the same snakemake command again" in out
    assert f"asked the supervisor on {socket.gethostname()} (pid {boss.pid}) to stop" in err
    assert "toy/stage1: stopping;" in err
    boss.communicate(timeout=60)


def test_a_trainer_whose_supervisor_died_on_this_host_is_ended_by_stop_itself(
    tmp_path: Path, templates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_config(tmp_path)
    boss = supervisor(tmp_path, templates, "waits-in-epoch-2", launch=True, leased=True)
    eventually(lambda: "Epoch [2]" in log_text(tmp_path))
    (running,) = list_attempts(toy_job(tmp_path, templates).stage_dir)
    watched = StageWatch(StageContext(config, "toy", "stage1"))
    assert watched.look().state != "orphaned"
    boss.send_signal(signal.SIGKILL)
    boss.communicate()
    assert carrying(running.tag)
    row = watched.look()
    assert row.state == "orphaned"
    assert re.search(
        r"what it started still runs here: .*trainrelay stop toy/stage1", "\n".join(remarks([row]))
    )
    stop_stage(StageContext(config, "toy", "stage1"))
    assert not carrying(running.tag)
    (ended,) = list_attempts(toy_job(tmp_path, templates).stage_dir)
    assert ended.end == "lost"
    *_, told = read_events(toy_job(tmp_path, templates).supervision)
    assert f"attempt 1 is lost: the supervisor (pid {boss.pid}) died; " in told.text
    assert "It resumes after epoch 1" in capsys.readouterr().out
