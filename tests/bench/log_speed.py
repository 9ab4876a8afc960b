"""What the analysis of a large log costs: a made UniAD stage 2 of 20 epochs, a line every 10 iterations."""

from __future__ import annotations

import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from labelled.families import FAMILIES, JSON, TEXT
from labelled.printing import printed
from labelled.training import made
from trainrelay.analysis import read

MOST_CPU_S, MOST_MB = 1.5, 120.0  # of the whole `trainrelay analyze`
_PAIR = re.compile(r"([\w./]+): (-?[\d.]+(?:e[-+]\d+)?|nan|inf)\b")


@dataclass(frozen=True)
class Measured:
    """Of one log: CPU seconds and peak memory of the command; CPU seconds of reading alone, by each way."""

    size_mb: float
    cpu_s: float
    peak_mb: float
    reading_s: Mapping[str, float]

    @property
    def holds(self) -> bool:
        peers = [spent for way, spent in self.reading_s.items() if way not in ("trainrelay", "orjson alone")]
        quick = self.reading_s["trainrelay"] <= min(peers)
        return self.cpu_s <= MOST_CPU_S and self.peak_mb <= MOST_MB and quick


def measure(folder: Path, turns: int = 3) -> Mapping[str, Measured]:
    """By format."""
    family = next(one for one in FAMILIES if one.name == "UniAD stage 2")
    found = {}
    for form in (TEXT, JSON):
        path = folder / f"{form}.log"
        run = made(random.Random(0), replace(family, intervals=(10,)), form, rows=10**6)
        run.restart = None
        path.write_text(printed(run), encoding="utf-8")
        spent = [_command(path) for _ in range(turns)]
        ways = {
            way: statistics.median(_cpu_s(one, path) for _ in range(turns))
            for way, one in _WAYS[form].items()
        }
        cpu_s, peak_mb = (statistics.median(values) for values in zip(*spent, strict=True))
        found[form] = Measured(path.stat().st_size / 1e6, cpu_s, peak_mb, ways)
    return found


# What Linux calls the peak of a process includes that of the one that started it, so a small one does.
_MEASURED = """
import os, resource, sys
ended = os.spawnv(os.P_WAIT, sys.executable, sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(ended, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6, file=sys.stderr)
"""


def _command(path: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of `trainrelay analyze LOG`."""
    argv = [sys.executable, "-m", "trainrelay", "analyze", str(path)]
    measuring = [sys.executable, "-I", "-S", "-c", _MEASURED, *argv]
    done = subprocess.run(
        measuring, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    ended, cpu_s, peak_mb = map(float, done.stderr.split()[-3:])
    assert ended == 0, f"trainrelay analyze ended with exit status {ended:.0f}: {done.stderr!r}"
    return cpu_s, peak_mb


def _cpu_s(way: Callable[[Path], object], path: Path) -> float:
    begun = time.process_time()
    way(path)
    return time.process_time() - begun


def _ours(path: Path) -> object:
    return read([path])


def _as_mmdet(path: Path) -> object:
    """As mmdet's tools/analysis_tools/analyze_logs.py does."""
    by_epoch: dict[int, dict[str, list[Any]]] = {}
    with path.open() as file:
        for line in file:
            row = json.loads(line.strip())
            if "epoch" not in row:
                continue
            columns = by_epoch.setdefault(row.pop("epoch"), defaultdict(list))
            for name, value in row.items():
                columns[name].append(value)
    return by_epoch


def _by_pattern(path: Path) -> object:
    """As a script of a few lines does."""
    with path.open() as file:
        return [
            {name: float(value) for name, value in _PAIR.findall(line)} for line in file if "Epoch [" in line
        ]


def _bare(path: Path) -> object:
    with path.open("rb") as file:
        return [orjson.loads(line) for line in file]


_WAYS: Mapping[str, Mapping[str, Callable[[Path], object]]] = {
    TEXT: {"trainrelay": _ours, "re.findall": _by_pattern},
    JSON: {"trainrelay": _ours, "json.loads as mmdet": _as_mmdet, "orjson alone": _bare},
}


def table(measured: Mapping[str, Measured]) -> list[str]:
    """Lines of Markdown."""
    rows = [
        f"| {form} | {one.size_mb:.1f} | {one.cpu_s:.2f} | {one.peak_mb:.0f} |"
        f" {', '.join(f'{way} {spent:.2f}' for way, spent in one.reading_s.items())} |"
        f" {'yes' if one.holds else '**no**'} |"
        for form, one in measured.items()
    ]
    return [
        "What a UniAD stage 2 of 20 epochs costs, a line every 10 iterations (7,020 lines). Medians of 3; it"
        f" fails above {MOST_CPU_S} s of CPU time or {MOST_MB:.0f} MB of `trainrelay analyze`, or where"
        " reading is slower than the other ways.",
        "",
        "| format | size (MB) | analyze, CPU (s) | peak (MB) | reading alone, CPU (s) | holds |",
        "|---|---:|---:|---:|---|---|",
        *rows,
    ]
