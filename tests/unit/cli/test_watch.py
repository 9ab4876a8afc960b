"""`trainrelay watch` off a terminal and on one, and what it refuses."""

from __future__ import annotations

import io
import json
import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from support.stage_on_disk import OnDisk
from trainrelay.cli import main, watch
from trainrelay.slurm import QueueRow
from trainrelay.slurm.queue import Queue
from trainrelay.training.context import StageContext
from trainrelay.watching import StageRow, StageWatch


@pytest.fixture
def configfile(tmp_path: Path) -> Path:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(json.loads(disk.config().model_dump_json(by_alias=True))))
    return path


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(configfile: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    def call(*words: str) -> tuple[int, str, str]:
        code = main(["watch", *words, "--configfile", str(configfile)])
        return code, *capsys.readouterr()

    return call


@pytest.mark.process
def test_off_a_terminal_it_is_a_plain_table_once(typed: Typed) -> None:
    code, out, _ = typed()
    assert code == 0
    head, line, *rest = out.splitlines()
    assert head.split()[:4] == ["stage", "state", "epoch", "iteration"]
    assert line.split()[:3] == ["r/s", "complete", "2/2"]
    assert rest == []


@pytest.mark.process
@pytest.mark.parametrize("which", ["r", "r/s"])
def test_json_is_one_object_with_the_stages_named(typed: Typed, which: str) -> None:
    code, out, _ = typed(which, "--json")
    (stage,) = json.loads(out)["stages"]
    assert (code, stage["run"], stage["stage"], stage["state"]) == (0, "r", "s", "complete")


def test_an_unknown_stage_is_refused_with_the_names_there_are(typed: Typed) -> None:
    assert typed("r/t") == (
        2,
        "",
        "trainrelay: r/t: no such run or stage in the config; use one of: r, r/s\n",
    )


@pytest.mark.parametrize("width", [40, 80, 140])
def test_on_a_terminal_no_line_is_wider_than_it_and_no_text_commands_it(width: int) -> None:
    rows = [
        StageRow(
            "r",
            "s",
            "stopped",
            "[bold red]{x}[/] " + "y" * 500,
            epochs=2,
            last_event="z" * 500,
            last_event_ago_s=3.0,
        ),
        StageRow(
            "r" * 30,
            "s" * 30,
            "running",
            "",
            epochs=2,
            last_losses=(1.0,) * 40,
            backend="gloo",
            attempt_number=1,
        ),
    ]
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=width, color_system=None)
    console.print(watch._view(rows, width))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "[bold red]{x}[/]" in output.getvalue()
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("name", "state"), [("trainrelay", "queued"), ("chain_promote_s_train_s", "queued"), ("mine", "fresh")]
)
def test_a_job_that_trains_more_than_one_stage_waits_for_each(tmp_path: Path, name: str, state: str) -> None:
    """The controller's, or that of a chain: nothing else would say that it can never start."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    waiting = QueueRow("17", "PENDING", "PartitionTimeLimit", workdir=str(Path.cwd()), name=name)
    stages = [StageWatch(StageContext(disk.config(), "r", "s"))]
    (row,) = watch._look(stages, Queue(question=lambda: [waiting]))
    assert row.state == state
    assert ("job 17 waits in Slurm's queue (PartitionTimeLimit: its runtime" in row.reason) == (
        state == "queued"
    )


def test_a_config_that_is_changed_while_it_is_watched_counts_once_it_can_be_read(configfile: Path) -> None:
    watched = watch._Watched(Namespace(configfile=configfile, which=[]))
    assert [one.look().state for one in watched.stages()] == ["complete"]
    whole = configfile.read_text()
    for text, state in (("runs: {r", "complete"), (whole.replace("epochs: 2", "epochs: 5"), "resumable")):
        configfile.write_text(text)
        os.utime(configfile, ns=(0, configfile.stat().st_mtime_ns + 1_000_000))
        assert [one.look().state for one in watched.stages()] == [state]
