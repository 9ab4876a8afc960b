"""The gap between two trainings on a real Slurm: from the end of one's work to the start of the next one's.

`make bench-slurm` runs chains of stages on the same eight GPUs, in turns by our executor with profiles/slurm,
by Snakemake's official Slurm executor, by sbatch alone, and by ours with a real small trainer. How long each
stage works is drawn from a seed, the same for each way: stages of one length would favour whoever looks at
the right moment. The stages stamp their own begin and end. `--write` puts the figures of all seeds of the
call into docs/BENCHMARKS.md. Exits 1 where a target is missed, 2 where it cannot be measured here.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.gap_chains import chain_of_sbatch, gaps_s, make_plain, make_trainer, pieces_s
from bench.section import machine, write_section
from slurm.rig import Rig, why_no_rig
from slurm.wrapped import COUNT, asked_s, wrap
from support.project import REPOSITORY

MOST_MEDIAN_S = 1.8
MOST_TRAINER_MEDIAN_S = 3.5
MOST_S = 5.0
TORCH_S = 1.0  # importing torch, where the limits of the way with a trainer were set
STAGES = 5
LEAST_STAGE_S, MOST_STAGE_S = 5.0, 60.0
MOSTLY_SHORT = 7  # the power of a uniform draw; 7 gives a mean of 12 s
PATIENCE_S = 900.0
COUNTED = ("squeue", "sacct")
LONG_TRAINING_S = 10 * 3600.0
FIRST_LOOK_S = 40.0  # of the official executor, by default
SECTION = "The gap between two trainings on Slurm"


@dataclass(frozen=True)
class Way:
    """One way to run the chain; `argv` are Snakemake's arguments, empty: sbatch alone."""

    name: str
    argv: tuple[str, ...] = ()
    make: Callable[[Path, Sequence[float]], None] = make_plain


def _profile(name: str, *more: str) -> tuple[str, ...]:
    return ("--profile", str(REPOSITORY / "profiles" / name), *more)


OURS = Way("`--profile slurm`", _profile("slurm"))
TRAINER = Way("`--profile slurm`, a torch trainer, promoted", _profile("slurm"), make_trainer)
# Its own settings as they are best here: the fewest seconds before the first look that it takes.
_FIRST_LOOK = ("--slurm-init-seconds-before-status-checks", "1")
OFFICIAL = Way("official executor, first look after 1 s", _profile("slurm-native", *_FIRST_LOOK))
SBATCH = Way("`sbatch --dependency=afterok`")
WAYS = (OURS, OFFICIAL, SBATCH, TRAINER)


@dataclass(frozen=True)
class Measured:
    """One chain: the gaps between its stages, what ours consist of, how often Slurm was asked meanwhile."""

    gaps_s: tuple[float, ...]
    pieces_s: tuple[dict[str, float], ...]
    took_s: float
    calls: dict[str, int]


def drawn_s(seed: int, turn: int) -> list[float]:
    """How long each stage of a chain works."""
    draw = random.Random(f"{seed} {turn}")
    spread_s = MOST_STAGE_S - LEAST_STAGE_S
    return [round(LEAST_STAGE_S + spread_s * draw.random() ** MOSTLY_SHORT, 2) for _ in range(STAGES)]


def played(way: Way, folder: Path, rig: Rig, python: str, lengths_s: Sequence[float]) -> Measured:
    """Runs the chain once in a fresh folder, by the Snakemake of that Python."""
    way.make(folder, lengths_s)
    began_s = time.monotonic()
    _run(way, folder, rig, python, lengths_s)
    took_s = time.monotonic() - began_s
    calls = {program: len(asked_s(folder / "commands", program)) for program in COUNTED}
    ours = way in (OURS, TRAINER)
    pieces = pieces_s(folder, STAGES, trainer=way is TRAINER) if ours else []
    return Measured(tuple(gaps_s(folder, STAGES)), tuple(pieces), took_s, calls)


def _run(way: Way, folder: Path, rig: Rig, python: str, lengths_s: Sequence[float]) -> None:
    """Runs it to its end; Slurm's counted programs leave their notes in the folder `commands`."""
    commands, path = folder / "commands", rig.environment()["PATH"]
    for program in (*COUNTED, "sbatch"):
        path = wrap(commands, program, COUNT, path)
    # The official executor starts srun in its jobs without SLURM_CONF: on a real cluster it needs none.
    path = wrap(commands, "srun", f"export SLURM_CONF='{rig.conf}'", path)
    environment = rig.environment(PATH=path)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # every Python would compile what it imports
    with (folder / "log").open("wb") as log:
        if way.argv:
            argv = [python, "-m", "snakemake", *way.argv]
        else:
            argv = _submitted(chain_of_sbatch(lengths_s), folder, environment)
        done = subprocess.run(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{way.name} ended {done.returncode}: {(folder / 'log').read_text()}"


def _submitted(chain: list[list[str]], folder: Path, environment: dict[str, str]) -> list[str]:
    """Submits all stages but the last, and returns how to submit that one and wait for its end."""
    job = ""
    for argv in chain:
        after = [f"--dependency=afterok:{job}"] if job else []
        if argv is chain[-1]:
            return [argv[0], "--wait", *after, *argv[1:]]
        done = subprocess.run(
            [argv[0], *after, *argv[1:]],
            cwd=folder, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        job = done.stdout.strip()
    raise AssertionError("a chain has stages")


# ---------------------------------------------------------------------- the official executor's law


@dataclass(frozen=True)
class Law:
    """How the official executor's pause between two looks grows while nothing ends."""

    step_s: float
    most_s: float

    def pause_s(self, first_s: float, after_s: float) -> float:
        """The pause in which a job of this length ends."""
        pause_s, looked_s = first_s, 0.0
        while looked_s + pause_s < after_s:
            looked_s += pause_s
            pause_s = min(pause_s + self.step_s, self.most_s)
        return pause_s


def law_of(source: str) -> Law:
    """As its source has it."""
    step, most = re.search(r"_checks \+ (\d+)", source), re.search(r"max_sleep_time = (\d+)", source)
    assert step is not None, "the official executor's pause grows otherwise now"
    assert most is not None, "the official executor's longest pause is written otherwise now"
    return Law(float(step[1]), float(most[1]))


def _official_law(python: str) -> Law:
    argv = [python, "-c", "import snakemake_executor_plugin_slurm as plugin; print(plugin.__file__)"]
    path = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    return law_of(Path(path).read_text(encoding="utf-8"))


# ---------------------------------------------------------------------- the page


def all_gaps_s(runs: Sequence[Measured]) -> list[float]:
    return [gap for run in runs for gap in run.gaps_s]


def median_s(runs: Sequence[Measured]) -> float:
    """Of all gaps."""
    return statistics.median(all_gaps_s(runs))


def ninetieth_s(values: Sequence[float]) -> float:
    """The 90th percentile."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


def _per_min(runs: Sequence[Measured], program: str) -> float:
    return 60 * sum(run.calls[program] for run in runs) / sum(run.took_s for run in runs)


def _row(seed: int, way: Way, runs: Sequence[Measured]) -> str:
    gaps = all_gaps_s(runs)
    figures_s = (median_s(runs), ninetieth_s(gaps), min(gaps), max(gaps))
    cells = [way.name, str(seed), *(f"{figure:.1f}" for figure in figures_s), *_asked(way, runs)]
    return f"| {' | '.join(cells)} |"


def _asked(way: Way, runs: Sequence[Measured]) -> Iterator[str]:
    for program in COUNTED:
        yield f"{_per_min(runs, program):.1f}" if way.argv else ""


def _pieces(runs: Sequence[Measured]) -> Iterator[str]:
    """Rows: medians and 90th percentiles of what the gaps consist of."""
    every = [pieces for run in runs for pieces in run.pieces_s]
    for name in every[0]:
        values = [pieces[name] for pieces in every]
        yield f"| {name} | {statistics.median(values):.2f} | {ninetieth_s(values):.2f} |"


def import_s() -> float:
    """What the start of a trainer costs on this machine alone: the median of 5 imports of torch."""
    found = []
    for _ in range(5):
        began_s = time.monotonic()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        found.append(time.monotonic() - began_s)
    return statistics.median(found)


def section(
    measured: dict[int, dict[Way, list[Measured]]],
    law: Law,
    load: tuple[float, float],
    torch_s: dict[int, float],
) -> str:
    """The section of docs/BENCHMARKS.md, by seed. `load`: the machine's load average before and after;
    `torch_s`: as of `import_s`, by seed."""
    every = {way: [run for ways in measured.values() for run in ways[way]] for way in WAYS}
    seeds, turns = " and ".join(map(str, measured)), len(every[OURS]) // len(measured)
    imports = " and ".join(f"{seconds:.1f} s" for seconds in torch_s.values())
    hours, pause_s = LONG_TRAINING_S / 3600, law.pause_s(FIRST_LOOK_S, LONG_TRAINING_S)
    header = ["", "| what | median (s) | 90th percentile (s) |", "|---|---:|---:|"]
    columns = ("median gap (s)", "90th percentile (s)", "least (s)", "most (s)", "squeue calls a minute")
    return "\n".join(
        [
            f"## {SECTION}",
            "",
            f"Written by `make bench-slurm`: chains of {STAGES} stages on the same eight GPUs of a real Slurm"
            f" on one machine ({machine()}), {turns} times in turns per seed, load average {load[0]:.1f}"
            f" before and {load[1]:.1f} after. Each stage works {LEAST_STAGE_S:.0f} to {MOST_STAGE_S:.0f}"
            f" s, drawn from the seed {seeds}, the same for each way. From the end of a stage's work to the"
            " start of the next one's, by their own stamps:",
            "",
            f"| way | seed | {' | '.join(columns)} | sacct calls a minute |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *(_row(seed, way, runs) for seed, ways in measured.items() for way, runs in ways.items()),
            "",
            f"The benchmark fails if the median of {OURS.name} is above {MOST_MEDIAN_S} s, that with the"
            f" trainer above {MOST_TRAINER_MEDIAN_S} s, or one gap of theirs above {MOST_S:.0f} s; with the"
            " trainer as many times more as importing torch takes this machine longer than"
            f" {TORCH_S:.0f} s (before each chain of its seed: {imports})."
            " These gaps do not depend on a training's length.",
            "",
            f"The official executor's do: by its source it adds {law.step_s:.0f} s to its pause at each look"
            f" that finds no end, up to {law.most_s:.0f} s. With its own first look, {FIRST_LOOK_S:.0f} s"
            f" after the submission, a training of {hours:.0f} hours ends in a pause of {pause_s:.0f} s, so"
            f" it is expected to be noticed {pause_s / 2:.0f} s after its end.",
            "",
            "Where the seconds go without a trainer:",
            *header,
            *_pieces(every[OURS]),
            "",
            "With one, from the exit of its process to the first line of the next one's script, which its"
            " launcher starts once it has imported torch:",
            *header,
            *_pieces(every[TRAINER]),
            "",
        ]
    )


def missed(measured: dict[Way, list[Measured]], torch_s: float) -> Iterator[str]:
    """A line per target that does not hold; `torch_s`: as of `import_s`."""
    slower = max(1.0, torch_s / TORCH_S)
    for way, most_median_s, most_s in (
        (OURS, MOST_MEDIAN_S, MOST_S),
        (TRAINER, MOST_TRAINER_MEDIAN_S * slower, MOST_S * slower),
    ):
        if (found_s := median_s(measured[way])) > most_median_s:
            yield f"{way.name}: the median is {found_s:.2f} s, above {most_median_s:.1f} s"
        if (found_s := max(all_gaps_s(measured[way]))) > most_s:
            yield f"{way.name}: one gap is {found_s:.2f} s, above {most_s:.1f} s"


def main() -> int:
    """Measure, say, and write where asked to; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--turns", type=int, default=2, help=f"per seed; {STAGES - 1} hand-overs per way each"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], metavar="SEED")
    parser.add_argument("--only-ours", action="store_true", help="a quick look: no page, no other ways")
    parser.add_argument("--official-python", required=True, help="a Python that has the official executor")
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    arguments = parser.parse_args()
    if reason := why_no_rig():
        print(f"cannot be measured here: {reason}")
        return 2
    official, rig, before = str(Path(arguments.official_python).absolute()), Rig(), os.getloadavg()[0]
    ways = (OURS, TRAINER) if arguments.only_ours else WAYS
    torch_s: dict[int, float] = {}
    with rig.alone(), tempfile.TemporaryDirectory(prefix="trainrelay-bench-") as name:
        measured = dict[int, dict[Way, list[Measured]]]()
        for seed in arguments.seeds:
            measured[seed], torch_s[seed] = _in_turns(Path(name), rig, ways, arguments.turns, seed, official)
    if arguments.only_ours:
        for seed, found in measured.items():
            print(f"seed {seed}")
            print("\n".join(line for way in ways for line in (way.name, *_pieces(found[way]))))
    else:
        load = (before, os.getloadavg()[0])
        text = section(measured, _official_law(official), load, torch_s)
        print(text)
        if arguments.write:
            write_section(SECTION, text)
    problems = [
        f"seed {seed}, {line}" for seed, found in measured.items() for line in missed(found, torch_s[seed])
    ]
    print("\n".join(problems) or "holds")
    return 1 if problems else 0


def _in_turns(
    folder: Path, rig: Rig, ways: Sequence[Way], turns: int, seed: int, official: str
) -> tuple[dict[Way, list[Measured]], float]:
    """What each way took, and the import of torch meanwhile: a machine is not always of the same speed."""
    measured: dict[Way, list[Measured]] = {way: [] for way in ways}
    imports_s = []
    for turn in range(turns):
        lengths_s = drawn_s(seed, turn)
        print(f"turn {turn + 1}: stages of {', '.join(map(str, lengths_s))} s", flush=True)
        for number, way in enumerate(ways):
            rig.heal()
            if way is TRAINER:
                imports_s.append(import_s())
            python = official if way is OFFICIAL else sys.executable
            run = played(way, folder / f"{seed}-{turn}-{number}", rig, python, lengths_s)
            measured[way].append(run)
            gaps = ", ".join(f"{gap:.2f}" for gap in run.gaps_s)
            print(f"{way.name}: gaps {gaps} s; load average {os.getloadavg()[0]:.1f}", flush=True)
    return measured, statistics.median(imports_s)


if __name__ == "__main__":
    sys.exit(main())
