"""What supervision costs: one core's share while it trains, and seconds that it adds to a stage.

`make bench` compares in one run, because machines are noisy: the same training of the driving demo is started
in turns by `trainrelay train` and as the bare command that trainrelay would type. `--write` puts the figures
into docs/BENCHMARKS.md. Exits 1 where supervision costs more than it may.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.section import machine, write_section
from support.project import CONFIG, Project, make_project

SECTION = "What supervision costs"
STAGE = "driving/stage1"
MOST_OF_A_CORE = 0.01
MOST_ADDED_S = 2.0
_LOOK_S = 0.25


@dataclass(frozen=True)
class Supervised:
    """One training by `trainrelay train`: its seconds, and the supervisor's CPU seconds while it trained."""

    wall_s: float
    trained_s: float
    cpu_s: float


def supervised(project: Project) -> Supervised:
    """Trains, and looks at the supervisor's own CPU time from the first logged iteration to the last."""
    log = project.stage("stage1") / "attempts/001/trainer.log"
    started_s, looks = time.monotonic(), []
    running = subprocess.Popen(
        [sys.executable, "-m", "trainrelay", "train", STAGE],
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    process = psutil.Process(running.pid)
    while running.poll() is None:
        time.sleep(_LOOK_S)
        lines = log.read_text(errors="replace").count("Epoch [") if log.exists() else 0
        looks.append((lines, time.monotonic(), _cpu_s(process)))
    assert running.returncode == 0, f"the training ended with exit status {running.returncode}"
    last = max(lines for lines, _, _ in looks)
    during = [look for look in looks if 0 < look[0] < last]
    (_, first_s, first_cpu_s), (_, last_s, last_cpu_s) = during[0], during[-1]
    return Supervised(time.monotonic() - started_s, last_s - first_s, last_cpu_s - first_cpu_s)


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def bare(project: Project, launch: Mapping[str, Any]) -> float:
    """The seconds of the same training without a supervisor."""
    started_s = time.monotonic()
    with (project.folder / "bare.log").open("wb") as log:
        env = {**os.environ, **launch["env"]}
        done = subprocess.run(launch["argv"], cwd=launch["cwd"], env=env, stdout=log, stderr=log, check=False)
    assert done.returncode == 0, f"the bare training ended with exit status {done.returncode}"
    return time.monotonic() - started_s


def fresh(folder: Path, iterations: int, epochs: int) -> Project:
    """A project that trains nothing but stage1."""
    project = make_project(folder)

    def change(data: dict[str, Any]) -> None:
        stage = dict(CONFIG["runs"]["driving"]["stages"]["stage1"], epochs=epochs)
        stage["options"] = {**stage["options"], "data.train.length": 8 * iterations}
        data["runs"]["driving"]["stages"] = {"stage1": stage}

    project.configure(change)
    return project


def added(base: Path, pairs: int) -> list[tuple[float, float]]:
    """Seconds with and without a supervisor, in pairs, each time the other one first."""
    measured = []
    launch = None
    for number in range(pairs):
        with_project = fresh(base / f"with-{number}", iterations=6, epochs=1)
        if launch is None:  # the command is learned from a first training, which also warms the caches
            supervised(with_project)
            launch = _launch(with_project)
            with_project = fresh(base / "with-again", iterations=6, epochs=1)
        without = fresh(base / f"without-{number}", iterations=6, epochs=1)
        moved = json.loads(json.dumps(launch).replace(str(base / "with-0"), str(without.folder)))
        if number % 2:
            bare_s, with_s = bare(without, moved), supervised(with_project).wall_s
        else:
            with_s, bare_s = supervised(with_project).wall_s, bare(without, moved)
        measured.append((with_s, bare_s))
        print(f"pair {number + 1} of {pairs}: {with_s:.1f} s supervised, {bare_s:.1f} s bare", flush=True)
    return measured


def _launch(project: Project) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((project.stage("stage1") / "attempts/001/attempt.json").read_text())
    return {key: record[key] for key in ("argv", "env", "cwd")}


def section(share: Supervised, pairs: Sequence[tuple[float, float]]) -> str:
    """Ours of docs/BENCHMARKS.md."""
    rows = [f"| {number} | {a:.2f} | {b:.2f} | {a - b:.2f} |" for number, (a, b) in enumerate(pairs, start=1)]
    return "\n".join(
        [
            f"## {SECTION}",
            "",
            "Written by `make bench`, which trains the driving demo's first stage on CPU with two ranks.",
            f"Machine: {machine()}.",
            "",
            "### One core's share while it trains",
            "",
            f"The supervisor (log followed, watchdog, lease) used {share.cpu_s:.2f} s of CPU time in"
            f" {share.trained_s:.1f} s of training: {share.cpu_s / share.trained_s:.2%} of one core"
            f" (the benchmark fails above {MOST_OF_A_CORE:.0%}).",
            "",
            "### Seconds that it adds to a stage",
            "",
            "The same training by `trainrelay train`, from its start to its end, and as the bare launcher"
            " command, in turns:",
            "",
            "| pair | supervised (s) | bare (s) | added (s) |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Median: {_median(pairs):.2f} s added (the benchmark fails above {MOST_ADDED_S:g} s): Python's"
            " start, reading the config, the lease, looking for processes that were left, and reading the"
            " last checkpoint.",
            "",
        ]
    )


def _median(pairs: Sequence[tuple[float, float]]) -> float:
    return statistics.median(a - b for a, b in pairs)


def main() -> int:
    """Measure, say, and write where asked to; 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trainrelay-bench-") as name:
        print("one long training ...", flush=True)
        share = supervised(fresh(Path(name) / "long", iterations=120, epochs=2))
        print(f"{share.cpu_s:.2f} s of CPU time in {share.trained_s:.1f} s of training", flush=True)
        pairs = added(Path(name), arguments.pairs)
    text = section(share, pairs)
    print(text)
    if arguments.write:
        write_section(SECTION, text)
    holds = share.cpu_s <= MOST_OF_A_CORE * share.trained_s and _median(pairs) <= MOST_ADDED_S
    print("holds" if holds else "does NOT hold")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
