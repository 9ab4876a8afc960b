"""One made training: a table of what its trainer logs, healthy until something is planted into it."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from labelled.families import CONSOLE, EPOCHS, JSON, NARRATED, TEXT, Course, Family, base

SPEED = ("lr", "time", "data_time", "memory")  # columns that are neither losses nor metrics


@dataclass(frozen=True)
class Plant:
    """What was done to a log, from `row` on; `clear`: nobody would doubt it."""

    kind: str
    row: int
    size: float
    clear: bool
    metric: str | None = None
    until: int | None = None  # the last row of a fault that passes


@dataclass
class Run:
    """A training as its trainer sees it. `columns` has a value per row, `evaluated` one per epoch."""

    family: Family
    format: str
    epochs: int
    length: int
    places: list[tuple[int, int]]  # epoch and iteration of each row, from 1
    columns: dict[str, list[float]]
    evaluated: dict[int, dict[str, float]]
    drops: tuple[int, ...]  # finished epochs after which the learning rate is a tenth
    fp16: bool = False
    restart: tuple[int, int] | None = None  # stopped after this row, resumed after these epochs
    says: str = ""  # what the trainer prints when it loads weights
    ends: str = ""  # what the console shows last; a training that was stopped shows no more rows
    plant: Plant | None = None

    @property
    def rows(self) -> int:
        return len(self.places)

    @property
    def terms(self) -> list[str]:
        """The losses of which the total is the sum."""
        return list(self.family.terms)

    @property
    def states_config(self) -> bool:
        """Whether the log says what the config is, schedule and clipping included."""
        return self.format in (TEXT, JSON, CONSOLE)

    @property
    def restarts(self) -> bool:
        """Whether several starts are in one log."""
        return self.format in (JSON, *NARRATED)

    def step(self, row: int) -> int:
        epoch, iteration = self.places[row]
        return (epoch - 1) * self.length + iteration

    def total(self) -> None:
        """The total again, after its terms changed, and what is logged without its coefficient."""
        for name, coefficient in self.family.unscaled.items():
            self.columns[f"{name}_unscaled"] = [value / coefficient for value in self.columns[name]]
        if self.terms != ["loss"]:
            columns = [self.columns[name] for name in self.terms]
            self.columns["loss"] = [math.fsum(values) for values in zip(*columns, strict=True)]

    def cut(self, rows: int) -> None:
        """No more than these rows, and no evaluation after them."""
        last = self.places[rows - 1][0]
        self.places = self.places[:rows]
        self.columns = {name: values[:rows] for name, values in self.columns.items()}
        self.evaluated = {epoch: found for epoch, found in self.evaluated.items() if epoch < last}
        if self.restart and self.restart[0] >= rows:
            self.restart = None


def made(rng: random.Random, family: Family, form: str, rows: int = 4000) -> Run:
    """A healthy training, whole; at most about so many rows."""
    epochs, length = rng.choice(family.epochs), rng.choice(family.length)
    interval = rng.choice(family.intervals)
    while epochs * length // interval > rows and 2 * interval <= length:
        interval *= 2
    at = [length] if form == EPOCHS else list(range(interval, length + 1, interval))
    places = [(epoch, iteration) for epoch in range(1, epochs + 1) for iteration in at]
    drops = _drops(family, epochs)
    every = rng.choice(family.every)
    run = Run(family, form, epochs, length, places, {}, {}, drops, fp16=rng.random() < family.fp16)
    _fill(rng, run)
    evaluations = [epoch for epoch in range(1, epochs + 1) if epoch % every == 0]
    _evaluate(rng, run, evaluations)
    if run.restarts and rng.random() < 0.25:
        epoch = rng.randrange(1, epochs)
        first = bisect_right(places, (epoch + 1, 0))
        run.restart = (min(first + rng.randrange(len(at)), len(places) - 1), epoch)
    return run


def rate(run: Run, warm: bool = True) -> Callable[[int], float]:
    """The learning rate of a step (from 1)."""
    family, steps = run.family, run.epochs * run.length

    def regular(step: int) -> float:
        done = (step - 1) // run.length
        if family.schedule == "steps":
            return family.lr * 0.1 ** bisect_right(run.drops, done)
        if family.schedule == "poly":
            return family.lr * (1 - (step - 1) / steps)
        by_epoch = done / run.epochs if run.format in (TEXT, JSON) else step / (steps + 1)
        return family.lr * (1e-3 + 0.4995 * (math.cos(math.pi * by_epoch) + 1))

    def warmed(step: int) -> float:
        left = max(0.0, 1 - (step - 1) / family.warmup) if warm and family.warmup else 0.0
        return regular(step) * (1 - left * (1 - family.warmup_ratio))

    return warmed


def _drops(family: Family, epochs: int) -> tuple[int, ...]:
    if family.schedule != "steps":
        return ()
    drops = (2 * epochs // 3, 11 * epochs // 12)
    return drops[:1] if CONSOLE in family.formats else drops  # torch's StepLR


def _course(rng: random.Random, run: Run) -> Callable[[int], float]:
    """The share of its way that a metric still has before it at a step: a power law, lower after a drop."""
    steps, knee, power = run.epochs * run.length, rng.uniform(0.008, 0.03), rng.uniform(0.4, 0.8)
    cold, peak = rate(run, warm=False), run.family.lr
    heat = rng.uniform(0.03, 0.10)
    end = (1 + 1 / knee) ** -power

    def left(step: int) -> float:
        fallen = ((1 + step / steps / knee) ** -power - end) / (1 - end)
        return (fallen + heat * cold(step) / peak * (1 - math.exp(-10 * step / steps))) / (1 + heat)

    return left


def _noise(rng: random.Random, rows: int, scale: float, memory: float = 0.3) -> list[float]:
    """Factors around 1 with heavy tails (Student's t, six degrees of freedom), each near the one before."""
    found, last = [], 0.0
    for _ in range(rows):
        chi = math.fsum(rng.gauss(0, 1) ** 2 for _ in range(6)) / 6
        last = memory * last + math.sqrt(1 - memory**2) * rng.gauss(0, 1) / math.sqrt(max(chi, 0.15))
        found.append(math.exp(scale * last))
    return found


def _fill(rng: random.Random, run: Run) -> None:
    """All columns of a healthy training."""
    family, rows = run.family, run.rows
    quiet = 0.25 if run.format == EPOCHS else 1.0  # means of a whole epoch
    shared = _noise(rng, rows, quiet * rng.uniform(0.01, 0.035))
    steps = [run.step(row) for row in range(rows)]
    levels: dict[str, float] = {}  # of a loss in all its layers
    courses: dict[str, Callable[[int], float]] = {}
    for name, ends in {**family.terms, **family.others}.items():
        own = _noise(rng, rows, quiet * rng.uniform(0.01, 0.04))
        left = courses.setdefault(base(name), _course(rng, run))
        swing = 0.0 if name not in family.uncertain else 0.12
        wobble = _noise(rng, rows, swing, memory=0.8) if swing else [1.0] * rows
        level = levels.setdefault(base(name), rng.uniform(0.85, 1.15)) if name in family.terms else 1.0
        values = [_value(name, family, ends, left, step) for step in steps]
        factors = zip(values, shared, own, wobble, strict=True)
        bounded = name.startswith(("acc", "decode.acc", "aux.acc"))
        if bounded:
            run.columns[name] = [v - (100 - v) * (s * o - 1) for v, s, o, _ in factors]
        else:
            run.columns[name] = [level * v * s * o * w for v, s, o, w in factors]
    run.total()
    if family.norm is not None:
        tails = _noise(rng, rows, 0.13)
        early = [1 + 1.5 * math.exp(-step / 1500) for step in steps]
        run.columns["grad_norm"] = [family.norm * t * e for t, e in zip(tails, early, strict=True)]
        if run.fp16:
            for row in rng.sample(range(rows), max(1, rows // 100)):
                run.columns["grad_norm"][row] = math.inf
    lr = rate(run)
    run.columns["lr"] = [lr(step) for step in steps]
    _speed(rng, run)


def _value(name: str, family: Family, ends: Course, left: Callable[[int], float], step: int) -> float:
    first, last = ends
    if name in family.peaked:
        rise = math.exp(-step / 300)
        return first * rise + last * (1 + 0.7 * left(step)) * (1 - rise)
    return last + (first - last) * left(step)


def _speed(rng: random.Random, run: Run) -> None:
    """Step time with a slow first line per epoch and a few slow ones, memory that is settled early."""
    rows, step_s = run.rows, run.family.step_s * rng.uniform(0.8, 1.25)
    share = rng.uniform(0.005, 0.08)
    jitter, loads = _noise(rng, rows, rng.uniform(0.006, 0.03)), _noise(rng, rows, 0.15)
    begins = {0, *(row for row, (a, b) in enumerate(pairwise(run.places), 1) if a[0] != b[0])}
    wait = [share * step_s * load for load in loads]
    for row in range(rows):
        if run.format != EPOCHS and (row in begins or rng.random() < 0.004):
            wait[row] += step_s * rng.uniform(0.05, 0.6)
    run.columns["data_time"] = wait
    run.columns["time"] = [step_s * (1 - share) * j + w for j, w in zip(jitter, wait, strict=True)]
    grown, memory = run.family.memory_mb * rng.uniform(0.85, 0.99), []
    for row in range(rows):
        if rng.random() < 0.3 * math.exp(-60 * row / rows):
            grown += (run.family.memory_mb - grown) * rng.uniform(0.2, 0.7)
        memory.append(float(round(grown)))
    run.columns["memory"] = memory


def _evaluate(rng: random.Random, run: Run, epochs: list[int]) -> None:
    """Metrics that rise while the loss falls; losses a little above the training's own."""
    left = {name: _course(rng, run) for name in run.family.metrics}
    gap, noise = rng.uniform(1.0, 1.12), rng.uniform(0.004, 0.012)
    for epoch in epochs:
        found = {}
        for name, (first, last) in run.family.metrics.items():
            if run.format == CONSOLE and name.startswith("coco"):
                continue  # a table of its own there
            value = last + (first - last) * left[name](epoch * run.length)
            found[name] = value * math.exp(rng.gauss(0, noise))
        if run.family.val_loss:
            rows = [row for row, place in enumerate(run.places) if place[0] == epoch][-5:]
            above = gap * math.exp(rng.gauss(0, 1.5 * noise))
            names = dict.fromkeys([*run.terms, "loss"])
            found |= {n: above * math.fsum(run.columns[n][r] for r in rows) / len(rows) for n in names}
        run.evaluated[epoch] = found
