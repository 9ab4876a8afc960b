"""docs/judgement.md has the thresholds of the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "judgement.md"
PLACES = ("analysis.checks", "analysis", "progress_lines")


def module(name: str):
    for place in PLACES:
        full = f"trainrelay.{place}.{name}"
        if importlib.util.find_spec(full):
            return importlib.import_module(full)
    raise AssertionError(name)


def test_every_threshold_on_the_page_is_that_of_the_code():
    rows = re.findall(r"\| `(\w+)\.([A-Z_]+)` \| ([\d.]+) \|", PAGE.read_text(encoding="utf-8"))
    assert len(rows) > 35
    assert not [row for row in rows if getattr(module(row[0]), row[1]) != float(row[2])]
