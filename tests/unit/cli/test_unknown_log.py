"""A log that nobody reads: said plainly of a finished training; one that failed has its report."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import orjson
import pytest

from support.stage_on_disk import OnDisk
from support.toy_project import ToyByRate, ToyProject, make_checkout
from trainrelay import cli
from trainrelay.cli import common
from trainrelay.cli import report as cli_report
from trainrelay.cli import stage as cli_stage
from trainrelay.errors import LogError, NoProgress, Refusal, UserError
from trainrelay.operations import analyze, report
from trainrelay.operations.promote import gate, promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.trainers import Launch
from trainrelay.training import state
from trainrelay.training.context import StageContext

UNKNOWN = "step 1 -> 0.75\nstep 2 -> \x1b[31m0.50\nstep 3 -> 0.25\n"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    (log,) = disk.paths.folder.glob("attempts/*/*.log")
    log.write_text(UNKNOWN)
    for verb in (common, cli_report):
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


def test_a_complete_training_whose_logs_are_gone_is_not_judged_and_needs_your_word(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    train_stage(at := StageContext(disk.config(), "r", "s"))
    (log,) = disk.paths.folder.glob("attempts/*/*.log")
    log.unlink()
    assert cli.main(["analyze", "--stage", "r/s"]) == 0
    assert "r/s: not judged: the logs of its attempts are gone" in capsys.readouterr().err
    with pytest.raises(Refusal, match=r"the logs of its attempts are gone.*\n.*run: trainrelay accept r/s"):
        gate(state.read(at), disk.facts())
    disk.paths.train.unlink()
    assert cli.main(["analyze", "--stage", "r/s"]) == 2


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


@pytest.mark.process
def test_the_report_of_a_failed_training_shows_what_ran_how_it_ended_and_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = make_checkout(tmp_path, monkeypatch, 0.1)
    code = r"[print(f'step {n} -> <b>\x1b[31m{1 / n}') for n in range(1, 40)]; raise SystemExit(7)"
    unknown = Launch((sys.executable, "-c", code, "--its-argument"), {}, str(checkout))
    monkeypatch.setattr(ToyByRate, "launch", lambda *_: unknown)
    with pytest.raises(NoProgress):
        ToyProject(checkout, tmp_path / "out").train()
    page = (tmp_path / "out/r/report.html").read_text()
    assert "--its-argument" in page
    assert "exited with status 7" in page
    lines = [
        int(number) for number in re.findall(r"step (\d+) -&gt; &lt;b&gt;0\.", page.split("last lines")[1])
    ]
    assert lines == list(range(20, 40))
    assert "\x1b" not in page
    assert "before its first step" not in page, "nobody knows that"


@pytest.mark.process
def test_a_start_that_was_refused_has_a_report_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    (tmp_path / "checkout/tools/train.py").unlink()
    (tmp_path / "runs/r").mkdir(parents=True)  # as Snakemake does
    monkeypatch.setattr(cli_stage, "stage_of", lambda _: StageContext(disk.config(), "r", "s"))
    assert cli.main(["train", "r/s"]) == 2
    said = capsys.readouterr().err
    assert "tools/train.py" in said
    page = (tmp_path / "runs/r/report.html").read_text()
    assert "The last start failed" in page
    assert "tools/train.py" in page
    assert (tmp_path / "runs/index.html").is_file()


@pytest.mark.process
def test_what_keeps_the_report_from_being_written_hides_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    (tmp_path / "checkout/tools/train.py").unlink()
    (tmp_path / "runs/r/report.html").mkdir(parents=True)
    monkeypatch.setattr(cli_stage, "stage_of", lambda _: StageContext(disk.config(), "r", "s"))
    assert cli.main(["train", "r/s"]) == 2
    assert "tools/train.py" in capsys.readouterr().err
