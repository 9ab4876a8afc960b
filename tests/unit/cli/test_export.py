"""`trainrelay export`, and what the page shows of a stage's files: archived trainings, links, last lines."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from support.mmcv_logs import mmcv_text
from support.page import Page
from support.stage_on_disk import OnDisk
from trainrelay.analysis import read
from trainrelay.cli import main

SHORT = {"iters_per_epoch": 40, "interval": 10}

pytestmark = pytest.mark.process  # a report asks git for the code's version


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def typed(disk: OnDisk, *argv: str) -> int:
    path = disk.base / "config.yaml"
    path.write_text(yaml.safe_dump(disk.config().model_dump(mode="json", exclude_unset=True)))
    return main([*argv, "--configfile", str(path)])


def test_each_step_is_there_once_with_the_value_of_the_attempt_that_did_it_last(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.train(log=SHORT)
    starts = ({"stop": (2, 20)}, {"resumed": 1, "metrics": {"loss": lambda step: 7.0}})
    log = "".join(mmcv_text(**SHORT, epochs=2, **start) for start in starts)
    (disk.paths.folder / "attempts/001/trainer.log").write_text(log)
    assert typed(disk, "export", "r", "--csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    steps = [int(row["step"]) for row in rows if row["phase"] == "train"]
    assert steps == [10, 20, 30, 40, 50, 60, 70, 80]
    redone = [row["loss"] for row in rows if int(row["step"]) > 40]
    assert redone == ["7.0"] * 4
    assert {row["stage"] for row in rows} == {"s"}
    assert typed(disk, "export", "r/s", "--jsonl") == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["step"] for each in objects] == steps
    assert objects[-1]["loss"] == 7.0
    assert objects[-1]["epoch"] == 2


def test_a_stage_without_a_log_is_named_and_a_run_that_is_not_known_refused(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(disk, "export", "r", "--csv") == 0
    found = capsys.readouterr()
    assert "left out: r/s" in found.err
    assert found.out.strip() == ""
    assert typed(disk, "export", "q", "--jsonl") == 2


def test_a_value_that_is_not_finite_is_null_in_json_and_a_hostile_name_is_printable(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.train()
    rows = [
        {"mode": "train", "epoch": 1, "iter": 10, "loss": float("nan"), "x\x1b[31m": 1.0},
        {"mode": "train", "epoch": 1, "iter": 20, "loss": 2.0},
    ]
    log = disk.paths.folder / "attempts/001/trainer.log"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert typed(disk, "export", "r", "--jsonl") == 0
    found = capsys.readouterr().out
    assert "\x1b" not in found
    assert [json.loads(line)["loss"] for line in found.splitlines()] == [None, 2.0]


@pytest.mark.parametrize("form", ["--csv", "--jsonl"])
def test_what_is_exported_is_analyzed_as_the_log_is(
    disk: OnDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Rows of validation are none of training, and no start begins with one."""
    disk.train(log={**SHORT, "epochs": 3, "validation": True})
    assert typed(disk, "analyze", str(disk.paths.folder / "attempts/001/trainer.log"), "--json") == 0
    log = json.loads(capsys.readouterr().out)
    assert log["metrics"]["val"]
    assert typed(disk, "export", "r", form) == 0
    table = tmp_path / "table"
    table.write_text(capsys.readouterr().out)
    assert typed(disk, "analyze", str(table), "--json") == 0
    read = json.loads(capsys.readouterr().out)
    for key in ("restarts", "iterations", "metrics", "total"):
        assert read[key] == log[key]


@pytest.fixture
def archived(disk: OnDisk) -> OnDisk:
    """A stage with an archived training of another learning rate, which was never analysed."""
    disk.train(log={"metrics": {"loss": lambda step: 90.0 - step / 10}})
    (disk.base / "checkout/a.py").write_text("optimizer = dict(lr=0.2)\n")
    disk.paths.folder.rename(disk.paths.folder.with_name("s.old-1"))
    disk.train()
    return disk


def report(disk: OnDisk) -> str:
    assert typed(disk, "report", "r") == 0
    return (disk.base / "runs/r/report.html").read_text(encoding="utf-8")


def test_an_archived_training_is_overlaid_with_what_differs_in_its_config(archived: OnDisk) -> None:
    words = Page(report(archived)).words
    shown = words[words.index("s and its archived trainings") : words.index("Metrics s")]
    assert "s.old-1" in shown
    assert "Last values" in shown
    assert "lr 0.2 0.1" in shown


def test_an_archived_training_whose_analysis_is_damaged_is_left_out_and_said(
    archived: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    (archived.paths.folder.with_name("s.old-1") / "analysis.json").write_text("{")
    assert "archived trainings" not in report(archived)
    assert "s.old-1 is not compared: " in capsys.readouterr().err


def test_the_card_links_to_what_is_there_and_the_console_ends_with_its_last_lines(disk: OnDisk) -> None:
    disk.train()
    assert typed(disk, "analyze", "--stage", "r/s") == 0
    page = report(disk)
    links = [str(attrs["href"]) for tag, attrs in Page(page).elements if tag == "a" and "href" in attrs]
    files = [disk.base / "runs/r" / each for each in links if each.startswith("./")]
    assert [file.name for file in files] == ["trainer.log", "work_dir", "epoch_2.pth", "analysis.md"]
    assert all(file.exists() for file in files)
    last = (disk.paths.folder / "attempts/001/trainer.log").read_text().splitlines()[-1]
    assert " ".join(last.split()) in Page(page).words
    assert "of which none is understood" not in page


@pytest.mark.parametrize("form", ["--csv", "--jsonl"])
def test_an_export_with_the_means_of_epochs_is_read_as_what_was_exported(
    disk: OnDisk, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    disk.train()
    line = "Epoch: [{}]  [{:3d}/100]  eta: 0:00:10  lr: 0.0001  loss: {:.4f} (2.0000)  time: 0.1  data: 0.001"
    text = ""
    for epoch in range(3):
        text += "".join(f"{line.format(epoch, at, 3 / (epoch * 100 + at + 1))}\n" for at in range(0, 100, 10))
        text += f"Averaged stats: lr: 0.0001  loss: {2 / (epoch + 1):.4f} (2.0000)\n"
    (disk.paths.folder / "attempts/001/trainer.log").write_text(text)
    assert typed(disk, "export", "r", form) == 0
    exported = disk.base / "exported"
    exported.write_text(capsys.readouterr().out)
    found = read([exported])
    assert [sum(row.phase == phase for row in found.rows) for phase in ("train", "epoch")] == [30, 3]
    assert found.segments == 1
