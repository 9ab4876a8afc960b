"""What the hook costs inside the trainer: microseconds per step, and what saving a large state takes.

`make bench-hook` trains the small mmcv trainer of the tests on CPU: on two ranks with the hook and without,
in turns, and on one rank with a state of 1.5 GB. `--write` puts the figures into docs/BENCHMARKS.md. Exits 1
where the hook costs more than it may.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.section import machine, write_section
from unit.hook.conftest import Ranks, Stage, manifest

SECTION = "What the hook costs"
MOST_PER_STEP_S = 1e-3
MOST_STALL_S = 0.2
MOST_PER_SAVE_S = 6.0  # stall and the thread's CPU time, per 600 s
GIGABYTE = 10**9
PARAMETERS = 125_000_000  # in float32, each with two values of AdamW: 1.5 GB


@dataclass(frozen=True)
class Steps:
    """One training: the median seconds of an iteration, and of the hook's callbacks in it."""

    iteration_s: float
    callbacks_s: float


@dataclass(frozen=True)
class Save:
    """One step checkpoint of the large state."""

    size: int
    stall_s: float
    write_s: float
    cpu_s: float


def steps(ranks: Ranks, folder: Path, iterations: int, *, hooked: bool) -> Steps:
    """Two ranks, a step of a few milliseconds, no step checkpoint in the time measured."""
    stage = Stage(ranks, folder, iterations=iterations, epochs=1, evaluate=False, hooked=hooked, timed=True)
    stage.steps["every_s"] = 3600.0
    seconds = trained(stage)
    iteration_s = statistics.median(after - before for before, after in pairwise(seconds["iterations"]))
    return Steps(iteration_s, statistics.median(seconds["callbacks"]) if hooked else 0.0)


def saves(ranks: Ranks, folder: Path, count: int) -> list[Save]:
    """One rank that saves after each step but the first, which allocates; each waits for the one before."""
    stage = Stage(
        ranks,
        folder,
        **{"world": 1, "sampler": "RandomSampler", "workers": 0, "iterations": count + 1, "epochs": 1},
        **{"accumulate": 1, "evaluate": False, "scaled": False, "ema": False, "paced": True, "timed": True},
        ballast=PARAMETERS,
    )
    stage.steps["keep"] = count
    cpu = trained(stage)["writes"]
    facts = [manifest(one) for one in reversed(stage.valid())]
    return [
        Save(sum(one["bytes"] for one in each["files"].values()), each["stall_s"], each["write_s"], cpu_s)
        for each, cpu_s in zip(facts, cpu, strict=True)
    ]


def trained(stage: Stage) -> dict[str, Any]:
    assert set(stage.run()) == {0}, stage.output()
    return dict(json.loads((stage.attempt() / "seconds-0.json").read_text()))


def section(with_hook: Sequence[Steps], without: Sequence[Steps], saved: Sequence[Save]) -> str:
    """Ours of docs/BENCHMARKS.md."""
    rows = [
        f"| {number} | {a.iteration_s * 1e3:.2f} | {b.iteration_s * 1e3:.2f} | {a.callbacks_s * 1e3:.3f} |"
        for number, (a, b) in enumerate(zip(with_hook, without, strict=True), start=1)
    ]
    saved_rows = [
        f"| {number} | {one.size / GIGABYTE:.2f} | {one.stall_s:.3f} | {one.write_s:.1f} | {one.cpu_s:.2f} |"
        for number, one in enumerate(saved, start=1)
    ]
    return "\n".join(
        [
            f"## {SECTION}",
            "",
            "Written by `make bench-hook`, which trains the small mmcv trainer of the tests on CPU.",
            f"Machine: {machine()}.",
            "",
            "### Each step",
            "",
            "Two ranks over gloo, medians over all iterations of a run, with the hook and without in turns."
            " The callbacks include the word of all ranks to each other (an all-reduce of four numbers):",
            "",
            "| pair | iteration with (ms) | without (ms) | callbacks (ms) |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Median of the callbacks: {_callbacks_s(with_hook) * 1e3:.3f} ms (the benchmark fails above"
            f" {MOST_PER_STEP_S * 1e3:g} ms).",
            "",
            "### Each step checkpoint",
            "",
            "One rank with AdamW. The training waits while the state is copied; a thread writes it:",
            "",
            "| save | size (GB) | stall (s) | written within (s) | CPU time of the thread (s) |",
            "|---|---|---|---|---|",
            *saved_rows,
            "",
            f"Medians: {_stall_s(saved):.3f} s stall (the benchmark fails above {MOST_STALL_S:g} s; the most"
            f" is {max(one.stall_s for one in saved):.3f} s), and"
            f" {_stall_s(saved) + _cpu_s(saved):.2f} s with the thread's CPU time (fails above"
            f" {MOST_PER_SAVE_S:g} s).",
            "",
        ]
    )


def _callbacks_s(found: Sequence[Steps]) -> float:
    return statistics.median(one.callbacks_s for one in found)


def _stall_s(saved: Sequence[Save]) -> float:
    return statistics.median(one.stall_s for one in saved)


def _cpu_s(saved: Sequence[Save]) -> float:
    return statistics.median(one.cpu_s for one in saved)


def holds(with_hook: Sequence[Steps], saved: Sequence[Save]) -> bool:
    """Whether the hook costs no more than it may."""
    stall_s = _stall_s(saved)
    within = stall_s <= MOST_STALL_S and stall_s + _cpu_s(saved) <= MOST_PER_SAVE_S
    return within and _callbacks_s(with_hook) <= MOST_PER_STEP_S


def main() -> int:
    """Measure, say, and write where asked to; 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    arguments = parser.parse_args()
    ranks, with_hook, without = Ranks(), [], []
    with tempfile.TemporaryDirectory(prefix="trainrelay-bench-") as name:
        folder = Path(name)
        for number in range(arguments.pairs):
            for hooked, found in ((True, with_hook), (False, without)):
                place = folder / f"{hooked}-{number}"
                found.append(steps(ranks, place, arguments.iterations, hooked=hooked))
        saved = saves(ranks, folder / "large", arguments.saves)
    ranks.end()
    text = section(with_hook, without, saved)
    print(text)
    if arguments.write:
        write_section(SECTION, text)
    kept = holds(with_hook, saved)
    print("holds" if kept else "does NOT hold")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
