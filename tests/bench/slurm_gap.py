"""The gap between two trainings on a real Slurm: from the end of one's work to the start of the next one's.

`make bench-slurm` runs the same chain of toy stages, a second each on the same eight GPUs, in turns by our
executor with profiles/slurm, by Snakemake's official Slurm executor and by sbatch alone. The stages stamp
their own begin and end. `--write` puts the figures into docs/BENCHMARKS.md. Exits 1 where our gap is more
than a third of the official executor's, 2 where it cannot be measured here.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.section import machine, write_section
from slurm.rig import Rig, why_no_rig
from slurm.wrapped import COUNT, asked_s, wrap
from support.project import REPOSITORY

MOST_OF_THE_OFFICIAL = 1 / 3
STAGES = 4
PATIENCE_S = 600.0
COUNTED = ("squeue", "sacct")
SECTION = "The gap between two trainings on Slurm"

STAGE = """\
import sys, time

def stamp(what):
    with open("stamps", "a") as file:
        file.write(f"{sys.argv[1]} {what} {time.time()}\\n")

stamp("begin")
time.sleep(1)
stamp("end")
open(sys.argv[2], "w").close()
"""
SNAKEFILE = f"""\
import sys

rule all:
    input: "{STAGES}.out"

for number in range(1, {STAGES} + 1):
    rule:
        name: f"stage{{number}}"
        input: f"{{number - 1}}.out"
        output: f"{{number}}.out"
        resources: gres="gpu:a40:8", mem_mb=2000, runtime=20
        params: number=number
        shell: "exec {{sys.executable}} stage.py {{params.number}} {{output}}"
"""


@dataclass(frozen=True)
class Way:
    """One way to run the chain; `argv` are Snakemake's arguments, empty: sbatch alone."""

    name: str
    argv: tuple[str, ...] = ()


def _profile(name: str, *more: str) -> tuple[str, ...]:
    return ("--profile", str(REPOSITORY / "profiles" / name), *more)


OURS = Way("`--profile slurm`", _profile("slurm"))
# Its own settings as they are best here: the fewest seconds before the first look that it takes, and more.
OFFICIAL = tuple(
    Way(
        f"official executor, first look after {first_s} s",
        _profile("slurm-native", "--slurm-init-seconds-before-status-checks", str(first_s)),
    )
    for first_s in (1, 5)
)
SBATCH = Way("`sbatch --dependency=afterok`")
WAYS = (OURS, *OFFICIAL, SBATCH)


@dataclass(frozen=True)
class Measured:
    """One chain: the gaps between its stages, and how often Slurm was asked while it ran."""

    gaps_s: tuple[float, ...]
    took_s: float
    calls: dict[str, int]


def played(way: Way, folder: Path, rig: Rig, python: str) -> Measured:
    """Runs the chain once in a fresh folder, by the Snakemake of that Python."""
    folder.mkdir()
    (folder / "stage.py").write_text(STAGE, encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    (folder / "0.out").touch()
    began_s = time.monotonic()
    commands = _run(way, folder, rig, python)
    took_s = time.monotonic() - began_s
    calls = {program: len(asked_s(commands, program)) for program in COUNTED}
    return Measured(tuple(gaps_s(folder / "stamps")), took_s, calls)


def _run(way: Way, folder: Path, rig: Rig, python: str) -> Path:
    """Runs it to its end; the folder of the counted programs."""
    commands, path = folder / "commands", rig.environment()["PATH"]
    for program in COUNTED:
        path = wrap(commands, program, COUNT, path)
    # The official executor starts srun in its jobs without SLURM_CONF: on a real cluster it needs none.
    path = wrap(commands, "srun", f"export SLURM_CONF='{rig.conf}'", path)
    environment = rig.environment(PATH=path)
    with (folder / "log").open("wb") as log:
        argv = (python, "-m", "snakemake", *way.argv) if way.argv else _chain(folder, environment)
        done = subprocess.run(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{way.name} ended {done.returncode}: {(folder / 'log').read_text()}"
    return commands


def _chain(folder: Path, environment: dict[str, str]) -> tuple[str, ...]:
    """Submits all stages but the last, and returns how to submit that one and wait for its end."""
    job = ""
    for number in range(1, STAGES + 1):
        argv = ["sbatch", "--parsable", "--gres=gpu:a40:8", "--mem=2000M", "--time=20", "--output=/dev/null"]
        argv += [f"--dependency=afterok:{job}"] if job else []
        argv += ["--wait"] if number == STAGES else []
        argv += [f"--wrap=exec {sys.executable} stage.py {number} {number}.out"]
        if number == STAGES:
            return tuple(argv)
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        job = done.stdout.strip()
    raise AssertionError("the last stage returns")


def gaps_s(stamps: Path) -> Iterator[float]:
    """From the end of each stage to the begin of the next."""
    lines = [line.split() for line in stamps.read_text(encoding="ascii").splitlines()]
    at_s = {(int(number), what): float(at) for number, what, at in lines}
    assert len(at_s) == 2 * STAGES, f"the stages stamped {sorted(at_s)}"
    for number, following in pairwise(range(1, STAGES + 1)):
        yield at_s[following, "begin"] - at_s[number, "end"]


# ---------------------------------------------------------------------- the page


def gap_s(runs: Sequence[Measured]) -> float:
    """The median of all gaps."""
    return statistics.median(gap for run in runs for gap in run.gaps_s)


def _per_min(runs: Sequence[Measured], program: str) -> float:
    return 60 * sum(run.calls[program] for run in runs) / sum(run.took_s for run in runs)


def _row(way: Way, runs: Sequence[Measured]) -> str:
    all_s = [gap for run in runs for gap in run.gaps_s]
    figures = (f"{gap_s(runs):.1f}", f"{min(all_s):.1f}", f"{max(all_s):.1f}", *_asked(way, runs))
    return f"| {way.name} | {' | '.join(figures)} |"


def _asked(way: Way, runs: Sequence[Measured]) -> Iterator[str]:
    for program in COUNTED:
        yield f"{_per_min(runs, program):.1f}" if way.argv else ""


def best(measured: dict[Way, list[Measured]]) -> Way:
    """The official executor's setting with the smallest gap."""
    return min(OFFICIAL, key=lambda way: gap_s(measured[way]))


def section(measured: dict[Way, list[Measured]]) -> str:
    """The section of docs/BENCHMARKS.md."""
    repeats, official = len(measured[OURS]), best(measured)
    share = gap_s(measured[OURS]) / gap_s(measured[official])
    return "\n".join(
        [
            f"## {SECTION}",
            "",
            f"Written by `make bench-slurm`: chains of {STAGES} stages, a second of work each on the same"
            f" eight GPUs, on a real Slurm on one machine ({machine()}), {repeats} times in turns. From the"
            " end of a stage's work to the start of the next one's, by their own stamps:",
            "",
            "| way | median gap (s) | least (s) | most (s) | squeue calls a minute | sacct calls a minute |",
            "|---|---:|---:|---:|---:|---:|",
            *(_row(way, runs) for way, runs in measured.items()),
            "",
            f"Ours is {share:.2f} of the official executor's at its best setting here (the benchmark fails"
            f" above {MOST_OF_THE_OFFICIAL:.2f}). The official executor adds 10 s to its interval at each"
            " look that finds no end, up to 180 s, so its gap after a training of hours is longer than this;"
            " ours does not depend on the training's length.",
            "",
        ]
    )


def holds(measured: dict[Way, list[Measured]]) -> bool:
    """Whether our gap is small enough."""
    return gap_s(measured[OURS]) <= MOST_OF_THE_OFFICIAL * gap_s(measured[best(measured)])


def main() -> int:
    """Measure, say, and write where asked to; 1 where the bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--official-python", required=True, help="a Python that has the official executor")
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    arguments = parser.parse_args()
    if reason := why_no_rig():
        print(f"cannot be measured here: {reason}")
        return 2
    rig = Rig()
    with rig.alone(), tempfile.TemporaryDirectory(prefix="trainrelay-bench-") as name:
        measured = _in_turns(
            Path(name), rig, arguments.repeats, str(Path(arguments.official_python).absolute())
        )
    text = section(measured)
    print(text)
    if arguments.write:
        write_section(SECTION, text)
    print("holds" if holds(measured) else "does NOT hold")
    return 0 if holds(measured) else 1


def _in_turns(folder: Path, rig: Rig, repeats: int, official: str) -> dict[Way, list[Measured]]:
    measured: dict[Way, list[Measured]] = {way: [] for way in WAYS}
    for repeat in range(repeats):
        for number, way in enumerate(WAYS):
            rig.heal()
            python = official if way in OFFICIAL else sys.executable
            run = played(way, folder / f"{repeat}-{number}", rig, python)
            measured[way].append(run)
            print(f"{way.name}: gaps {', '.join(f'{gap:.1f}' for gap in run.gaps_s)} s", flush=True)
    return measured


if __name__ == "__main__":
    sys.exit(main())
