"""How long the next leg of a training waits, requeued or as the next task of an array, on a real Slurm.

A job is warned as at its time limit, and the wait until it runs again is measured: with nothing else in the
queue, and behind jobs that were submitted while it ran. Priorities grow with the time in the queue
(priority/multifactor). `--write` puts the figures into docs/BENCHMARKS.md. Exits 1 where the array does not
wait less than half as long on the busy cluster, or waits 2 s longer on the empty one, 2 where it cannot be
measured.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.section import machine, write_section
from slurm.rig import Rig, wait_for, why_no_rig
from support.project import REPOSITORY

COMPETITORS, THEIR_S, LEG_S = 20, 5, 15.0
PATIENCE_S = 600.0
SECTION = "How long the next leg waits on Slurm"
PRIORITIES = "priority/multifactor\nPriorityWeightAge=100000\nPriorityMaxAge=0-0:10\nPriorityCalcPeriod=1"
WAYS = {"requeued": 1, "array": 3}  # and the legs that are asked for
LEAST_SHARE, SLACK_S = 0.5, 2.0

WORK = """\
import signal, sys, time
from pathlib import Path

def stamp(what):
    with open("stamps", "a") as file:
        file.write(f"{what} {time.time()}\\n")

def stop(*_):
    stamp("end")
    sys.exit(75)

signal.signal(signal.SIGTERM, stop)
first = not Path("stamps").exists()
stamp("begin")
time.sleep(600 if first else 0)
Path(sys.argv[1]).touch()
"""
SNAKEFILE = """\
import sys

rule training:
    output: "trained"
    resources: gpu=8, gpu_model="a40", mem_mb=2000, runtime=20, slurm_legs={legs}
    shell: "exec {{sys.executable}} work.py {{output}}"
"""


@contextlib.contextmanager
def growing_priorities(rig: Rig) -> Iterator[None]:
    """A rig whose jobs gather priority while they wait."""
    before = rig.conf.read_text(encoding="utf-8")
    try:
        _restart(rig, before.replace("priority/basic", PRIORITIES))
        yield
    finally:
        _restart(rig, before)


def _restart(rig: Rig, conf: str) -> None:
    rig.heal()
    rig.stop("slurmctld")
    rig.conf.write_text(conf, encoding="utf-8")
    rig.start("slurmctld")
    rig.heal()


def waited_s(folder: Path, rig: Rig, legs: int, competitors: int) -> float:
    """From the end of the first leg's work to the start of the second one's."""
    folder.mkdir()
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE.format(legs=legs), encoding="utf-8")
    profile = str(REPOSITORY / "profiles/slurm")
    with (folder / "log").open("wb") as log:
        controller = subprocess.Popen(
            (sys.executable, "-m", "snakemake", "--profile", profile),
            cwd=folder, env=rig.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(lambda: stamps(folder), "the first leg")
        job = next(
            row["ArrayJobID"] for row in rig.squeue(fields="ArrayJobID,State") if row["State"] == "RUNNING"
        )
        for _ in range(competitors):
            rig.sbatch("--gres=gpu:a40:8", "--chdir=/", "--output=/dev/null", f"--wrap=sleep {THEIR_S}")
        time.sleep(LEG_S)
        rig.warn(job)
        assert controller.wait(timeout=PATIENCE_S) == 0, (folder / "log").read_text()
    finally:
        controller.kill()
        controller.wait()
    (_, end_s), (_, again_s) = stamps(folder)[1:]
    return again_s - end_s


def stamps(folder: Path) -> list[tuple[str, float]]:
    """What the legs noted, and when: begin, end, begin."""
    path = folder / "stamps"
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [(what, float(at_s)) for what, at_s in (line.split() for line in lines)]


# ---------------------------------------------------------------------- the page

Waits = Mapping[tuple[str, int], Sequence[float]]  # by way and number of competing jobs


def holds(waits: Waits) -> bool:
    """Whether the array pays on the busy cluster and costs nothing on the empty one."""
    median_s = {case: statistics.median(all_s) for case, all_s in waits.items()}
    pays = median_s["array", COMPETITORS] < LEAST_SHARE * median_s["requeued", COMPETITORS]
    return pays and median_s["array", 0] <= median_s["requeued", 0] + SLACK_S


def section(waits: Waits) -> str:
    """The section of docs/BENCHMARKS.md."""
    repeats = len(waits["array", 0])
    rows = [
        f"| {way} | {' | '.join(f'{statistics.median(waits[way, jobs]):.1f}' for jobs in (0, COMPETITORS))} |"
        for way in WAYS
    ]
    return "\n".join(
        [
            f"## {SECTION}",
            "",
            "Written by `make bench-slurm`: a job on eight GPUs is warned as at its time limit and continues,"
            f" on a real Slurm on one machine ({machine()}) with priority/multifactor, {repeats} times each."
            " From the end of its work to the next start, in seconds (median), with an empty queue and with"
            f" {COMPETITORS} jobs of {THEIR_S} s on the same GPUs that were submitted while it ran:",
            "",
            f"| next leg | empty queue | {COMPETITORS} jobs |",
            "|---|---:|---:|",
            *rows,
            "",
            "A requeued job begins to wait when its leg has ended; the tasks of an array (`legs: array`) have"
            " waited since it was submitted. (The benchmark fails if the array's wait on the busy cluster is"
            f" not below {LEAST_SHARE:g} of the other's, or above it by {SLACK_S:g} s on the empty one.)",
            "",
        ]
    )


def main() -> int:
    """Measure, say, and write where asked to; 1 where the bounds do not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    arguments = parser.parse_args()
    if reason := why_no_rig():
        print(f"cannot be measured here: {reason}")
        return 2
    rig = Rig()
    with (
        rig.alone(),
        tempfile.TemporaryDirectory(prefix="trainrelay-bench-") as name,
        growing_priorities(rig),
    ):
        waits = _measured(Path(name), rig, arguments.repeats)
    text = section(waits)
    print(text)
    if arguments.write:
        write_section(SECTION, text)
    print("holds" if holds(waits) else "does NOT hold")
    return 0 if holds(waits) else 1


def _measured(folder: Path, rig: Rig, repeats: int) -> Waits:
    waits: dict[tuple[str, int], list[float]] = {}
    for repeat in range(repeats):
        for (way, legs), jobs in product(WAYS.items(), (0, COMPETITORS)):
            one_s = waited_s(folder / f"{repeat}-{way}-{jobs}", rig, legs, jobs)
            waits.setdefault((way, jobs), []).append(one_s)
            print(f"{way}, {jobs} competing jobs: {one_s:.1f} s", flush=True)
            rig.heal()
    return waits


if __name__ == "__main__":
    sys.exit(main())
