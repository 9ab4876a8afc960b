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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from labelled.families import CONSOLE, FAMILIES, JSON, TEXT, Family
from labelled.printing import printed
from labelled.training import made
from trainrelay.analysis import read

MOST_CPU_S, MOST_MB = 1.5, 120.0  # of the whole `trainrelay analyze`
MOST_ANSWER_S = 0.05  # from an appended line to its answer, in the median
MANY_METRICS, MOST_WIDE_S = 10_000, 10.0
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
    family = _family("UniAD stage 2")
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


@dataclass(frozen=True)
class Bound:
    """A figure in seconds and what it may be at most; None: it is told alone."""

    what: str
    spent_s: float
    most_s: float | None

    @property
    def holds(self) -> bool:
        return self.most_s is None or self.spent_s <= self.most_s


def bounds(folder: Path) -> list[Bound]:
    """How long an appended line waits for its answer, and what a log of very many metrics costs."""
    found = []
    for form, name in ((TEXT, "UniAD stage 2"), (CONSOLE, "DETR")):
        answers = _answers_s(folder / f"{form}-followed.log", name, form, 12, 7200)
        what = f"`--follow` of {form}: a line's answer"
        found.append(Bound(f"{what}, median", statistics.median(answers), MOST_ANSWER_S))
        found.append(Bound(f"{what}, longest", max(answers), None))
    wide = folder / "wide.log.json"
    rng, names = random.Random(0), [f"loss_{n}" for n in range(MANY_METRICS)]
    with wide.open("w", encoding="utf-8") as file:
        for step in range(1, 101):
            values = {name: 2 / step + rng.random() / 100 for name in names}
            place = {"mode": "train", "epoch": 1, "iter": step}
            file.write(json.dumps({**place, **values, "loss": sum(values.values())}) + "\n")
    said = f"`analyze` of {MANY_METRICS:,} metrics in 100 rows, CPU"
    return [*found, Bound(said, _command(wide)[0], MOST_WIDE_S)]


def _answers_s(path: Path, family: str, form: str, lines: int, rows: int) -> list[float]:
    """From the append of a line to its row on the output, of the last lines of a long log."""
    run = made(random.Random(0), replace(_family(family), intervals=(10,)), form, rows)
    run.restart = None
    told = [line for line in printed(run).splitlines(keepends=True) if "Epoch" in line and " eta: " in line]
    path.write_text("".join(told[:-lines]), encoding="utf-8")
    argv = [sys.executable, "-m", "trainrelay", "analyze", "--follow", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout
            next(line for line in following.stdout if line.startswith("verdict: "))
            spent = []
            for line in told[-lines:]:
                time.sleep(1.5)
                begun = time.monotonic()
                with path.open("a", encoding="utf-8") as file:
                    file.write(line)
                next(line for line in following.stdout if line.startswith("epoch "))
                spent.append(time.monotonic() - begun)
            return spent
        finally:
            following.kill()


def _family(name: str) -> Family:
    return next(one for one in FAMILIES if one.name == name)


def bounds_table(found: Sequence[Bound]) -> list[str]:
    """Lines of Markdown."""
    rows = [
        f"| {one.what} | {one.spent_s:.3f} | {'' if one.most_s is None else f'{one.most_s:g}'} |"
        f" {'yes' if one.holds else '**no**'} |"
        for one in found
    ]
    return ["| what | seconds | at most | holds |", "|---|---:|---:|---|", *rows]


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
