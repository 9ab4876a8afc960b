"""Real logs, which no clone has: `make real-logs FOLDER=...` holds the analysis to them.

`logs.tsv`, wherever it is below the folder, says of the files in the `logs` beside it what was seen in
them by eye: format, segments, last epoch, verdict, what is true ("-" where it does not matter). Every other
log there is read without an exception, and not found to be critical.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from trainrelay.analysis import analyze, read
from trainrelay.records import Analysis

FOLDER = Path(os.environ.get("TRAINRELAY_REAL_LOGS", "/nowhere"))
ENDINGS = (".log", ".json", ".txt", ".jsonl", ".csv", ".out")
SEEN = [
    (table.parent / "logs" / row["name"], row)
    for table in sorted(FOLDER.rglob("logs.tsv"))
    for row in csv.DictReader(table.read_text("utf-8").removeprefix("# ").splitlines(), delimiter="\t")
]
OTHERS = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.suffix in ENDINGS and "logs" in path.parts[:-1] and path not in {seen for seen, _ in SEEN}
)
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="real logs: make real-logs FOLDER=... (no clone has them)"
)


def said(path: Path) -> Analysis:
    return analyze(read([path]))


def test_the_folder_has_logs() -> None:
    assert SEEN or OTHERS


@pytest.mark.parametrize(("path", "row"), SEEN, ids=lambda one: getattr(one, "name", ""))
def test_a_log_is_judged_as_it_was_by_eye(path: Path, row: dict[str, str]) -> None:
    found = said(path)
    seen = {
        "format": found.format,
        "segments": str(found.segments),
        "last_epoch": str(found.progress.epoch),
        "verdict": found.verdict.kind,
    }
    assert {key: value for key, value in seen.items() if row[key] != "-"} == {
        key: row[key] for key in seen if row[key] != "-"
    }


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_other_log_is_called_broken(path: Path) -> None:
    found = said(path)
    assert found.metrics["train"]
    assert [one.message for one in found.findings if one.severity == "critical" or one.blocking] == []
