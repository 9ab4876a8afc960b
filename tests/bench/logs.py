"""How well and how fast logs are judged: on made logs with known faults, and on a UniAD stage of 20 epochs.

`make bench-logs` draws trainings of six model families from `--seed` (a fresh one, unless it is given) and
the ones after it, plants a fault into each and counts what `trainrelay analyze` says of them; then it
measures what the analysis of a large log costs. `--write` puts the figures into docs/BENCHMARKS.md. Exits 1
where precision or recall is below 0.95, a healthy log gets a warning, or the analysis is too slow.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.log_speed import Bound, Measured, bounds, bounds_table, measure, table
from bench.section import machine, write_section
from labelled import real
from labelled.drawn import HEALTHY
from labelled.score import ANSWERS, BAR, Outcome, Score, outcome, scores, strays

SECTION = "How well faults in logs are found"


def outcomes(seeds: Sequence[int], plants: int, kinds: Sequence[str]) -> list[Outcome]:
    """Of so many logs of each kind and seed, on two processes."""
    drawn = [(seed, kind, n) for seed in seeds for kind in (HEALTHY, *kinds) for n in range(plants)]
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(outcome, *zip(*drawn, strict=True), chunksize=8))


def section(
    every: Sequence[Outcome], seeds: Sequence[int], speed: Mapping[str, Measured], quick: Sequence[Bound]
) -> str:
    """Ours of docs/BENCHMARKS.md."""
    healthy = [one for one in every if one.kind == HEALTHY]
    alarmed = sum(bool(one.stray) for one in healthy)
    lines = [
        f"## {SECTION}",
        "",
        f"Written by `make bench-logs`: {len(every):,} made logs of UniAD 1 and 2, BEVFormer, DETR,"
        " keypoints, two-stage detectors, mmseg, MAE and a language model, as mmcv and mmengine (text,"
        " JSON), MetricLogger (text, JSON), Hugging Face's trainer_state.json, Lightning's CSV and a script"
        f" print them, from seeds {', '.join(map(str, seeds))}. One fault each, or none; every other one is"
        " clear, the rest is such that an expert would just say so. *In place*: a sudden fault within two log"
        " lines, a slow one in its epoch (or within 5% of all epochs). Recall counts what was found in its"
        " place, precision healthy logs of the same kinds; *elsewhere*: logs with another fault on which the"
        f" same checks alarm without a reason. The benchmark fails below {BAR}, with an alarm on a healthy"
        f" log, or if more than {1 - BAR:.0%} of the others have one.",
        "",
        "| fault | answered by | clear | just so | in place | false | elsewhere"
        " | recall | precision | holds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
        *map(_line, scores(every)),
        "",
        f"Healthy logs with a warning: {alarmed} of {len(healthy)}.",
    ]
    if stray := strays(every):
        lines += ["", "Alarms that the planted fault does not explain:", "", "| log | check | logs |"]
        lines += ["|---|---|---:|"]
        lines += [f"| {kind} | {check} | {count} |" for (kind, check), count in sorted(stray.items())]
    costs = [f"On {machine()}. {table(speed)[0]}", *table(speed)[1:], "", *bounds_table(quick)]
    return "\n".join([*lines, "", *costs, ""])


def planted_into_real(folder: Path, seed: int, plants: int) -> tuple[str, list[Outcome]]:
    """Faults in the logs below a folder, and a table of them."""
    found = [(path, list(real.outcomes(path, log, seed, plants))) for path, log in real.logs(folder)]
    every = [one for _, ones in found for one in ones]
    lines = [
        f"Planted into {len(found)} real logs (`--real FOLDER`), {plants} of each kind that a log can have,"
        f" seed {seed}; *stray*: logs with an alarm that neither the fault nor the log itself explains.",
        "",
        "| fault | clear | just so | in place | recall | stray |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for score in scores(every):
        if score.clear[1]:
            parts = " | ".join(f"{found}/{planted}" for found, planted in (score.clear, score.just))
            stray = sum(bool(one.stray) for one in every if one.kind == score.kind)
            lines.append(f"| {score.kind} | {parts} | {score.placed} | {score.recall:.2f} | {stray} |")
    return "\n".join([*lines, ""]), every


def _line(score: Score) -> str:
    checks = ", ".join(ANSWERS[score.kind].checks)
    parts = " | ".join(f"{found}/{planted}" for found, planted in (score.clear, score.just))
    return (
        f"| {score.kind} | {checks} | {parts} | {score.placed} | {score.false} |"
        f" {score.elsewhere[0]}/{score.elsewhere[1]} | {score.recall:.2f} |"
        f" {score.precision:.2f} | {'yes' if score.holds else '**no**'} |"
    )


def problems(
    every: Sequence[Outcome], speed: Mapping[str, Measured], quick: Sequence[Bound]
) -> Iterator[str]:
    """What does not hold, a line each."""
    for score in scores(every):
        if not score.holds:
            yield f"{score.kind}: recall {score.recall:.2f}, precision {score.precision:.2f}"
    for one in every:
        if one.kind == HEALTHY and one.stray:
            yield f"{one.name}: an alarm of {', '.join(one.stray)}"
    for form, cost in speed.items():
        if not cost.holds:
            yield f"{form}: {cost.cpu_s:.2f} s of CPU time, {cost.peak_mb:.0f} MB, reading {cost.reading_s}"
    yield from (f"{one.what}: {one.spent_s:.3f} s" for one in quick if not one.holds)


def main() -> int:
    """Measure, print, and write where asked to; 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--seeds", type=int, default=3, help="how many, from --seed on")
    parser.add_argument("--plants", type=int, default=60, help="logs of each kind and seed")
    parser.add_argument("--kind", action="append", choices=list(ANSWERS), help="only these faults")
    parser.add_argument("--real", type=Path, help="a folder of real logs: plant faults into these, too")
    parser.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md")
    parser.add_argument("--misses", action="store_true", help="name each log that was not judged right")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    every = outcomes(seeds, arguments.plants, arguments.kind or list(ANSWERS))
    with tempfile.TemporaryDirectory(prefix="trainrelay-bench-") as folder:
        speed, quick = measure(Path(folder)), bounds(Path(folder))
    text, missed = section(every, seeds, speed, quick), list(problems(every, speed, quick))
    if arguments.real:
        said, planted = planted_into_real(arguments.real, arguments.seed, 4)
        text, every = f"{text}\n{said}", [*every, *planted]
    print(text)
    if arguments.misses:
        for one in every:
            if one.stray or (one.kind != HEALTHY and not one.placed):
                print(one.name, "clear" if one.clear else "just so", one.found, one.placed, *one.stray)
    if arguments.write:
        write_section(SECTION, text)
    print("\n".join(missed) or "holds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
