"""`trainrelay report`, and `overview` of the workflow: which pages are written, and what leads where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.stage_on_disk import OnDisk
from trainrelay.cli import main
from trainrelay.config import load_config, overview_path
from trainrelay.errors import TrainrelayError
from trainrelay.operations import train
from trainrelay.records import AttemptRecord, Decision
from trainrelay.supervise import StageJob
from trainrelay.system.files import read_record
from trainrelay.training.context import StageContext


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    return disk


def configfile(disk: OnDisk, *more: str) -> Path:
    """A config with the run `r` and more runs of the same kind, of which nothing is trained."""
    stage = {"config": "a.py", "epochs": 2, "backends": ["gloo"], "resources": {"gpu": 8}}
    run = {"trainer": {"kind": "mmcv", "root": str(disk.base / "checkout"), "nproc_per_node": 8}}
    promoted = {**stage, "promotion": {"target": "ckpts/s.pth"}}
    runs: dict[str, Any] = {"r": {**run, "stages": {"s": promoted}}}
    runs |= {name: {**run, "stages": {"s": stage}} for name in more}
    path = disk.base / "config.yaml"
    path.write_text(yaml.safe_dump({"out": str(disk.base / "runs"), "runs": runs}, sort_keys=False))
    return path


def typed(disk: OnDisk, *argv: str, runs: tuple[str, ...] = ("fresh",)) -> int:
    return main([*argv, "--configfile", str(configfile(disk, *runs))])


def pages(disk: OnDisk) -> set[str]:
    folder = disk.base / "runs"
    return {str(page.relative_to(folder)) for page in folder.rglob("*.html")}


def test_the_overview_shows_every_run_of_the_config_with_or_without_a_training(disk: OnDisk) -> None:
    disk.train()
    assert typed(disk, "overview") == 0
    assert pages(disk) == {"index.html"}
    page = (disk.base / "runs/index.html").read_text(encoding="utf-8")
    assert re.findall(r'<h2><a href="([^"]+)">(\w+)</a>', page) == [
        ("r/report.html", "r"),
        ("fresh/report.html", "fresh"),
    ]
    assert "0 of 2 runs complete" not in page


def test_an_overview_of_nothing_at_all_makes_its_own_folder(disk: OnDisk) -> None:
    assert typed(disk, "overview") == 0
    assert pages(disk) == {"index.html"}


@pytest.mark.process
def test_a_report_of_one_run_is_that_page_alone(disk: OnDisk) -> None:
    assert typed(disk, "report", "r") == 0
    assert pages(disk) == {"r/report.html"}


@pytest.mark.process
def test_a_report_without_a_name_is_every_report_and_the_overview(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(disk, "report") == 0
    assert pages(disk) == {"index.html", "r/report.html", "fresh/report.html"}
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in said] == ["report", "report", "overview"]


def test_a_run_that_the_config_does_not_know_is_refused_with_the_names_it_knows(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(disk, "report", "driving") == 2
    assert (
        "driving: no such run or stage in the config; use one of: r, fresh, r/s, fresh/s"
        in capsys.readouterr().err
    )
    assert pages(disk) == set()


@pytest.mark.process
@pytest.mark.parametrize(("others", "leads_back"), [((), False), (("fresh",), True)])
def test_a_report_leads_back_to_the_overview_where_there_are_several_runs(
    disk: OnDisk, others: tuple[str, ...], leads_back: bool
) -> None:
    typed(disk, "report", runs=others)
    page = (disk.base / "runs/r/report.html").read_text(encoding="utf-8")
    assert ('<a href="../index.html">All runs</a>' in page) is leads_back


def test_the_link_of_a_report_and_the_overviews_place_are_one(disk: OnDisk) -> None:
    config = load_config(configfile(disk, "fresh"))
    assert (disk.base / "runs/r" / "../index.html").resolve() == overview_path(config)


@pytest.mark.process
def test_pages_say_when_they_were_written(disk: OnDisk) -> None:
    typed(disk, "report")
    for name in pages(disk):
        page = (disk.base / "runs" / name).read_text(encoding="utf-8")
        assert re.search(r"written at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page)


@pytest.mark.process
def test_a_training_that_fails_gets_its_report_and_a_fresh_overview(
    disk: OnDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(job: StageJob, *_: object) -> AttemptRecord:
        disk.train(log={"epochs": 1})
        record = disk.paths.folder / "attempts/001/attempt.json"
        found = read_record(record, AttemptRecord)
        assert found is not None
        decision = Decision(step="final", reason="it crashed", what_to_do="fix it")
        update = {"end": "trainer-bug", "reason": f"{job.name} crashed", "decision": decision}
        crashed = found.model_copy(update=update)
        record.write_text(crashed.model_dump_json())
        return crashed

    monkeypatch.setattr(train.supervise, "train", crash)
    with pytest.raises(TrainrelayError, match="crashed"):
        train.train_stage(StageContext(disk.config(), "r", "s"))
    assert pages(disk) == {"index.html", "r/report.html"}
    assert "Something failed" in (disk.base / "runs/index.html").read_text(encoding="utf-8")


@pytest.mark.process
def test_reports_of_another_configs_runs_stay_reachable(disk: OnDisk) -> None:
    disk.train()
    assert typed(disk, "report") == 0
    assert typed(disk, "overview", runs=("another",)) == 0
    page = (disk.base / "runs/index.html").read_text(encoding="utf-8")
    assert "Other reports here" in page
    assert str(disk.base / "config.yaml") in page
    assert '<a href="fresh/report.html">fresh</a>' in page
    assert typed(disk, "overview") == 0
    assert "Other reports here" not in (disk.base / "runs/index.html").read_text(encoding="utf-8")


@pytest.mark.process
def test_an_out_that_cannot_be_made_is_a_sentence(disk: OnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    (disk.base / "runs").write_text("a file")
    assert typed(disk, "report", "fresh") == 2
    assert f"cannot write {disk.base}/runs/fresh: Not a directory; check" in capsys.readouterr().err
