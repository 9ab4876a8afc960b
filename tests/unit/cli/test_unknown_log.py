"""A log that nobody reads: said plainly of a finished training; one that failed has its report."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from support.stage_on_disk import OnDisk
from support.toy_project import ToyByRate, ToyProject, make_checkout
from trainrelay import cli
from trainrelay.cli import analyze as cli_analyze
from trainrelay.cli import report as cli_report
from trainrelay.errors import LogError, NoProgress, UserError
from trainrelay.operations import analyze, report
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.trainers import Launch
from trainrelay.training.context import StageContext

UNKNOWN = "step 1 -> 0.75\nstep 2 -> \x1b[31m0.50\nstep 3 -> 0.25\n"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    (log,) = disk.paths.folder.glob("attempts/*/*.log")
    log.write_text(UNKNOWN)
    for verb in (cli_analyze, cli_report):
        monkeypatch.setattr(verb, "configured", lambda _: disk.config())
    return disk


def empty(disk: OnDisk) -> None:
    (log,) = disk.paths.folder.glob("attempts/*/*.log")
    log.write_bytes(b"")


def test_the_analysis_ends_0_and_says_that_nothing_was_judged(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    train_stage(StageContext(disk.config(), "r", "s"))
    assert cli.main(["analyze", "--stage", "r/s"]) == 0
    assert "r/s: not judged: " in capsys.readouterr().err
    written = orjson.loads(disk.paths.analysis.read_bytes())
    assert written["verdict"] == "not judged"
    assert "step 1 -> 0.75" in written["verdict_reason"]
    assert "\x1b" not in written["verdict_reason"]
    assert [(one["severity"], one["blocking"]) for one in written["findings"]] == [("warning", False)]
    assert "**Overall**: Training was not judged." in disk.paths.analysis_text.read_text()


@pytest.mark.process
def test_the_report_shows_it(disk: OnDisk) -> None:
    """As it was written, read back from analysis.json."""
    train_stage(StageContext(disk.config(), "r", "s"))
    assert cli.main(["analyze", "--stage", "r/s"]) == 0
    page = report.write_report(disk.config(), "r").read_text()
    assert "Not judged" in page
    assert "step 1 -&gt; 0.75" in page


@pytest.mark.parametrize("content", ["{}", "[]", "{"])
def test_the_report_names_a_damaged_analysis_and_what_to_run(disk: OnDisk, content: str) -> None:
    disk.paths.analysis.write_text(content)
    with pytest.raises(
        UserError, match=r"r/s/analysis\.json is damaged .*; run: rm \S+/analysis\.json, then snakemake"
    ):
        report.write_report(disk.config(), "r")


def test_a_trainer_that_prints_nothing_is_promoted_and_not_judged(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    empty(disk)
    train_stage(StageContext(disk.config(), "r", "s"))
    assert cli.main(["analyze", "--stage", "r/s"]) == 0
    promote_stage(StageContext(disk.config(), "r", "s"))
    assert "warning: its numbers are not judged, only its checkpoint" in capsys.readouterr().err


def test_a_training_that_is_not_finished_has_no_such_verdict(disk: OnDisk) -> None:
    """Its first progress line may be yet to come."""
    with pytest.raises(LogError, match="no line of a known format"):
        analyze.analyze_stage(StageContext(disk.config(), "r", "s"))
    assert not disk.paths.analysis.exists()


@pytest.mark.process
def test_a_trainer_that_fails_before_its_first_line_has_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit status stays what it was."""
    checkout = make_checkout(tmp_path, monkeypatch, 0.1)
    raises = Launch((sys.executable, "-c", "raise KeyError('img_metas')"), {}, str(checkout))
    monkeypatch.setattr(ToyByRate, "launch", lambda *_: raises)
    project = ToyProject(checkout, tmp_path / "out")
    with pytest.raises(NoProgress, match="before its first training step"):
        project.train()
    assert "KeyError: &#39;img_metas&#39;" in (tmp_path / "out/r/report.html").read_text()
