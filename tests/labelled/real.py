"""Faults planted into real logs: the table of a log as a `Run`, the same plants, and a table again.

Only the numbers of training rows are changed, so what a reader makes of such lines is not part of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from labelled.families import Family
from labelled.faults import FAULTS
from labelled.score import ALARMS, Outcome, judged
from labelled.training import Run
from trainrelay.analysis import analyze, read
from trainrelay.errors import TrainrelayError
from trainrelay.records import Log, Numbers, Row

# What needs no more than numbers, and a training of which not more is known than its log.
KINDS = (
    *("NaN", "explosion", "spike", "total exactly 0", "hump"),
    *("steps slower", "waits for data", "memory grows", "gradient explodes", "gradient vanishes"),
)
FEWEST = 60  # training rows: in fewer a fault of a few lines is most of the log
_NEEDS = {
    "steps slower": {"time"},
    "waits for data": {"time", "data_time"},
    "memory grows": {"memory"},
    "gradient explodes": {"grad_norm"},
    "gradient vanishes": {"grad_norm"},
}


def logs(folder: Path) -> Iterator[tuple[Path, Log]]:
    """The logs below a folder that can be read and are long enough."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".log", ".json", ".txt")):
        try:
            log = read([path])
        except TrainrelayError:
            continue
        if sum(row.phase == "train" for row in log.rows) >= FEWEST:
            yield path, log


def outcomes(path: Path, log: Log, seed: int, plants: int) -> Iterator[Outcome]:
    """Of `plants` of each kind that the log can have. What the log had before is no alarm of ours."""
    before = {one.check for one in analyze(log).findings if one.severity in ALARMS}
    for kind in KINDS:
        for number in range(plants):
            rng, run = random.Random(f"{seed} {kind} {path.name} {number}"), taken(log)
            if "loss" not in run.columns or not _NEEDS.get(kind, set()) <= run.columns.keys():
                continue
            run.plant = FAULTS[kind][0](rng, run, number % 2 == 0)
            found = judged(run, analyze(written(log, run)), f"{kind} {path.name} {number}")
            yield replace(found, stray=tuple(check for check in found.stray if check not in before))


def taken(log: Log) -> Run:
    """The metrics that every training row has."""
    rows = _training(log)
    names = [name for name in rows[0].values if all(name in row.values for row in rows)]
    columns = {name: [row.values[name] for row in rows] for name in names}
    by_iteration = log.max_epochs == 1 and all(row.step == row.iteration for row in rows)
    from_zero = log.format.startswith("metriclogger") and not log.epochs_only
    length = 1 if log.epochs_only else log.iters_per_epoch or max(row.iteration for row in rows)
    places = [(row.epoch, 1 if log.epochs_only else row.iteration + from_zero) for row in rows]
    terms = dict.fromkeys((name for name in names if _is_term(name)), (0.0, 0.0))
    if not terms or not math.isclose(_sum(columns, terms), columns.get("loss", [0.0])[0], rel_tol=0.01):
        terms = {"loss": (0.0, 0.0)}
    raw = {name: columns.get(f"{name}_unscaled", [0.0])[0] for name in terms}
    twins = {name: columns[name][0] / raw[name] for name in terms if raw[name]}
    family = Family(
        name="real",
        formats=(log.format,),
        terms=terms,
        unscaled=twins,
        epochs=(log.max_epochs or rows[-1].epoch,),
        length=(length,),
        intervals=(log.interval or 1,),
        schedule="",
        lr=0.0,
        step_s=0.0,
        memory_mb=0,
        metrics={},
        by_iteration=by_iteration,
    )
    return Run(family, log.format, family.epochs[0], length, places, columns, {}, ())


def written(log: Log, run: Run) -> Log:
    """The log with the numbers of the run; what was cut from its end is left out."""
    changed = {}
    for at, row in enumerate(_training(log)[: run.rows]):
        values = {**row.values, **{name: values[at] for name, values in run.columns.items()}}
        changed[id(row)] = replace(row, values=Numbers(tuple(values), values.values()))
    rows = [changed.get(id(row), row) for row in log.rows if row.phase != "train" or id(row) in changed]
    return replace(log, rows=tuple(rows))


def _training(log: Log) -> list[Row]:
    return [row for row in log.rows if row.phase == "train"]


def _is_term(name: str) -> bool:
    return "loss" in name and name != "loss" and not name.endswith("_unscaled")


def _sum(columns: dict[str, list[float]], terms: dict[str, tuple[float, float]]) -> float:
    return math.fsum(columns[name][0] for name in terms)
