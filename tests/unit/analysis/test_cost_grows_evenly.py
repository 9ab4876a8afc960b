"""What a log of many metrics costs: twice as many, twice the work; in calls, for no machine is quiet."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from trainrelay.analysis import analyze, read

FEWEST = 200


def calls(path: Path, metrics: int) -> int:
    """Of functions, Python's and C's, that the analysis of a log of so many losses takes."""
    with path.open("w", encoding="utf-8") as file:
        for step in range(1, 31):
            values = {f"loss_{n}": 2 / step + n % 7 / 100 for n in range(metrics)}
            row = {"mode": "train", "epoch": 1, "iter": step, **values, "loss": sum(values.values())}
            file.write(json.dumps(row) + "\n")
    seen = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        analyze(read([path]))
    finally:
        sys.setprofile(None)
    return seen


def test_the_analysis_costs_no_more_a_metric_where_there_are_many(tmp_path):
    calls(tmp_path / "first.log.json", 10)  # what is loaded once
    few, many = (calls(tmp_path / f"{n}.log.json", n) for n in (FEWEST, 4 * FEWEST))
    assert many < 4.5 * few
