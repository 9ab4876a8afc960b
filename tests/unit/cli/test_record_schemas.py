"""`trainrelay schema NAME`: what other tools may rely on in train.json, attempt.json and analysis.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from support.stage_on_disk import OnDisk
from trainrelay.cli import main
from trainrelay.cli.schema import SCHEMAS
from trainrelay.operations.analyze import analyze_stage
from trainrelay.operations.train import train_stage
from trainrelay.training.context import StageContext

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("train", "attempt", "analysis", "notice")


def check(path: Path, name: str) -> None:
    Draft202012Validator(SCHEMAS[name]()).validate(json.loads(path.read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_on_disk_is_the_one_of_the_code(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name]())
    on_disk = json.loads((ROOT / f"workflow/schemas/{name}.schema.json").read_text())
    assert on_disk == SCHEMAS[name](), f"type: trainrelay schema {name} > workflow/schemas/{name}.schema.json"
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out) == on_disk


@pytest.mark.parametrize("losses", [None, math.nan])
def test_what_a_stage_writes_is_of_the_schema(tmp_path: Path, losses: float | None) -> None:
    """Also an analysis of numbers that are not finite."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    if losses is not None:
        log = disk.paths.folder / "attempts/001/trainer.log"
        lines = log.read_text().splitlines(keepends=True)
        half = len(lines) // 2
        log.write_text("".join([*lines[:half], *(_with_nan(line) for line in lines[half:])]))
    at = StageContext(disk.config(), "r", "s")
    train_stage(at)
    analyze_stage(at)
    written = disk.paths.analysis.read_text()
    assert ('"NaN"' in written) == (losses is not None)
    check(disk.paths.analysis, "analysis")
    check(disk.paths.train, "train")
    check(disk.paths.folder / "attempts/001/attempt.json", "attempt")


def _with_nan(line: str) -> str:
    before, found, _ = line.partition(" loss: ")
    return f"{before}{found}nan\n" if found else line


def test_a_key_of_a_later_version_breaks_no_reader_but_another_type_does(tmp_path: Path) -> None:
    """Anywhere in the file; our own reader refuses both."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    path = disk.paths.folder / "attempts/001/attempt.json"
    record: dict[str, Any] = json.loads(path.read_text())
    later = {**record, "new": 1, "place": {**record["place"], "new": 1}}
    path.write_text(json.dumps(later))
    check(path, "attempt")
    path.write_text(json.dumps({**record, "number": "1"}))
    with pytest.raises(ValidationError):
        check(path, "attempt")


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_a_schema_for_other_tools_is_closed(name: str) -> None:
    assert '"additionalProperties": false' not in json.dumps(SCHEMAS[name]())
