"""What goes wrong in trainings, planted into a healthy one.

Written from how such faults look in public logs and in reports of users; those before the last ten
without a look at the thresholds of the checks. Half of each kind is drawn from a range that nobody would
doubt, half from one in which an expert would just say so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from labelled.families import (
    CONSOLE,
    DESCRIBED,
    EPOCHS,
    JSON,
    MMENGINE,
    MMENGINE_JSON,
    NARRATED,
    TEXT,
    base,
)
from labelled.training import Plant, Run, rate

Range = tuple[float, float]
PYTHON = 'Traceback (most recent call last):\n  File "tools/train.py", line 256, in <module>\n    main()'
ENDS = {
    kind: [text.replace("{python}", PYTHON) for text in texts]
    for kind, texts in yaml.safe_load((Path(__file__).parent / "stops.yaml").read_text()).items()
}


def _size(rng: random.Random, clear: bool, doubtless: Range, just: Range) -> float:
    """Evenly by ratio."""
    low, high = doubtless if clear else just
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _row(rng: random.Random, run: Run, low: float = 0.15, high: float = 0.85) -> int:
    return max(2, min(run.rows - 3, int(run.rows * rng.uniform(low, high))))


def _scale(run: Run, row: int, factors: list[float], names: list[str] | None = None) -> None:
    """Multiplies losses from a row on."""
    for name in names or run.terms:
        values = run.columns[name]
        for at, factor in enumerate(factors[: run.rows - row], row):
            values[at] *= factor
    run.total()


def not_a_number(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The loss becomes NaN and stays so; UniAD's own code makes zeros of it. It may end the training."""
    row = _row(rng, run)
    value = 0.0 if run.family.nan_to_num else math.nan
    for name in run.terms:
        run.columns[name][row:] = [value] * (run.rows - row)
    run.total()
    if "grad_norm" in run.columns:
        run.columns["grad_norm"][row:] = [math.nan] * (run.rows - row)
    for epoch in run.evaluated:
        if epoch >= run.places[row][0]:
            run.evaluated[epoch] = {
                name: math.nan if "loss" in name else 0.0 for name in run.evaluated[epoch]
            }
    if not clear and run.format in NARRATED and run.rows > row + 2:
        run.cut(row + rng.randint(1, 2))
        run.ends = rng.choice(ENDS["NaN"])
    return Plant("NaN", row, math.nan, clear)


def explosion(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The loss grows from line to line and never comes back."""
    row, size = _row(rng, run), _size(rng, clear, (20, 1e4), (4, 20))
    rise = rng.randint(1, 6)
    growth = [size ** min(1.0, (n + 1) / rise) * math.exp(rng.gauss(0, 0.1)) for n in range(run.rows - row)]
    _scale(run, row, growth)
    _norms(run, row, [min(g, 100.0) for g in growth])
    _evaluations_from(run, row, size, 0.05)
    return Plant("explosion", row, size, clear)


def spike(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The loss is far too high on one to five lines, and back on the next."""
    row, size = _row(rng, run), _size(rng, clear, (8, 500), (3, 8))
    lines = 1 if run.format == EPOCHS else rng.randint(1, 5)
    heights = [max(3.0, size * rng.uniform(0.3, 1.0)) for _ in range(lines)]
    heights[0] = size
    _scale(run, row, heights)
    _norms(run, row, heights)
    return Plant("spike", row, size, clear)


def zero(rng: random.Random, run: Run, clear: bool) -> Plant:
    """Total and terms become exactly 0.0: labels lost, a mask of nothing, or a NaN that was replaced."""
    row = _row(rng, run)
    rows = run.rows - row if clear else max(5, (run.rows - row) // 3)
    _scale(run, row, [0.0] * rows)
    return Plant("total exactly 0", row, 0.0, clear)


def hump(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The loss falls, rises to twice and more over some lines, and falls again."""
    row, size = _row(rng, run, 0.25, 0.7), _size(rng, clear, (2.2, 4), (1.8, 2.2))
    width = max(4, int(run.rows * rng.uniform(0.05, 0.15)))
    waves = [1 + (size - 1) * math.sin(math.pi * (n + 0.5) / width) for n in range(width)]
    _scale(run, row, waves)
    return Plant("hump", row, size, clear, until=min(row + width, run.rows) - 1)


def rising_term(rng: random.Random, run: Run, clear: bool) -> Plant:
    """One task's loss rises to the end, while the others go on falling."""
    row, size = _row(rng, run, 0.2, 0.6), _size(rng, clear, (2.5, 6), (1.7, 2.5))
    alive = [name for name in run.terms if min(run.columns[name]) > 0 and name not in run.family.peaked]
    task = base(rng.choice(alive))
    names, rest = [name for name in alive if base(name) == task], run.rows - row
    for name in names:
        falling = run.columns[name][row:]
        ramp = [falling[0] * size ** min(1.0, (n + 1) / (0.7 * rest)) for n in range(rest)]
        smooth = [falling[0] + (falling[-1] - falling[0]) * n / rest for n in range(rest)]
        _scale(run, row, [value / was for value, was in zip(ramp, smooth, strict=True)], [name])
    for epoch, found in run.evaluated.items():
        for name in names if epoch > run.places[row][0] else []:
            if name in found:
                found["loss"] += found[name] * (size - 1)
                found[name] *= size
    return Plant("one term rises", row, size, clear, task)


def flat(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The loss does not move: after nothing, or after a fall in its first three lines in a hundred."""
    fall = 0.0 if clear else rng.uniform(0.1, 0.5)
    early = max(1, int(0.03 * run.rows))
    drift = rng.uniform(-0.01, 0.01)
    for name in run.terms:
        values = run.columns[name]
        middle = sorted(values)[run.rows // 2] or 1.0
        level = values[0] * (1 - fall)
        noise = [v / middle for v in values]
        trend = [_local(values, row) / middle for row in range(run.rows)]
        run.columns[name] = [
            level
            * (n / (t or 1.0))
            * (1 + drift * row / run.rows)
            * (1 + fall / (1 - fall) * math.exp(-4 * row / early))
            for row, (n, t) in enumerate(zip(noise, trend, strict=True))
        ]
    for name, (first, _) in run.family.others.items():
        run.columns[name] = [first * math.exp(rng.gauss(0, 0.01)) for _ in range(run.rows)]
    run.total()
    for epoch, found in run.evaluated.items():
        at = next(row for row, place in enumerate(run.places) if place[0] == epoch)
        for name in found:
            mean = run.columns[name][at] if name in run.columns else run.family.metrics[name][0]
            found[name] = mean * math.exp(rng.gauss(0, 0.01))
    return Plant("flat", 0, fall, clear)


def validation_still(rng: random.Random, run: Run, clear: bool) -> Plant:
    """Training falls, what it is evaluated by stays where it was at the first evaluation."""
    wobble = 0.002 if clear else 0.01
    first = dict(next(iter(run.evaluated.values())))
    for found in run.evaluated.values():
        together = math.exp(rng.gauss(0, wobble))
        for name in found:
            found[name] = first[name] * together * math.exp(rng.gauss(0, wobble / 2))
    return Plant("validation does not move", 0, wobble, clear)


def overfit(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The validation gets worse from an epoch on, while training goes on falling."""
    epochs = list(run.evaluated)
    begin = epochs[int(len(epochs) * rng.uniform(0.3, 0.5))]
    size = _size(rng, clear, (1.5, 3), (1.2, 1.5))
    before = run.evaluated[begin]
    for epoch in (epoch for epoch in epochs if epoch > begin):
        share = (epoch - begin) / (epochs[-1] - begin)
        for name in run.evaluated[epoch]:
            way = size**share if "loss" in name else size ** (-share * 0.8)
            run.evaluated[epoch][name] = before[name] * way * math.exp(rng.gauss(0, 0.005))
    row = next(row for row, place in enumerate(run.places) if place[0] == begin)
    return Plant("validation falls behind", row, size, clear)


def metric_zero(rng: random.Random, run: Run, clear: bool) -> Plant:
    """A metric is 0 at every evaluation; where it is not so clear, 0 after a tiny first value."""
    names = list(run.family.metrics)
    for number, found in enumerate(run.evaluated.values()):
        for name in names:
            found[name] = 1e-4 if not clear and not number else 0.0
    return Plant("metric is 0", 0, 0.0, clear, names[0])


def lr_kept(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The learning rate does not fall where the config says so: at the first drop, or at the second."""
    drop = run.drops[0 if clear else -1]
    row = next(row for row, place in enumerate(run.places) if place[0] > drop)
    run.columns["lr"][row:] = [run.columns["lr"][row - 1]] * (run.rows - row)
    return Plant("learning rate not dropped", row, 10.0, clear)


def lr_warms_again(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The learning rate is back at the begin of the warm-up, and rises to its peak once more; where the
    training was resumed, there."""
    row, lr = _row(rng, run, 0.3, 0.8), rate(run)
    if run.restart:
        row = next(row for row, place in enumerate(run.places) if place[0] > run.restart[1])
    start = run.step(row) if clear else run.step(row) - run.length // 20
    for at in range(row, run.rows):
        run.columns["lr"][at] = lr(max(1, run.step(at) - start))
    return Plant("learning rate back in warm-up", row, 1.0, clear)


def clipped(rng: random.Random, run: Run, clear: bool) -> Plant:
    """Every gradient is longer than what it is clipped to."""
    size = _size(rng, clear, (2.5, 20), (1.4, 2.5))
    clip = run.family.clip or 1.0
    lowest = min(n for n in run.columns["grad_norm"] if math.isfinite(n))
    run.columns["grad_norm"] = [n / lowest * clip * size for n in run.columns["grad_norm"]]
    return Plant("every step clipped", 0, size, clear)


def slower(rng: random.Random, run: Run, clear: bool) -> Plant:
    """From a line on every step takes longer: a neighbour on the node, a GPU that throttles."""
    row, size = _row(rng, run, 0.2, 0.8), _size(rng, clear, (1.6, 4), (1.4, 1.6))
    run.columns["time"][row:] = [value * size for value in run.columns["time"][row:]]
    return Plant("steps slower", row, size, clear)


def data_bound(rng: random.Random, run: Run, clear: bool) -> Plant:
    """Much of a step is waiting for data, from the first to the last."""
    share = rng.uniform(0.55, 0.9) if clear else rng.uniform(0.4, 0.55)
    for row in range(run.rows):
        works = run.columns["time"][row] - run.columns["data_time"][row]
        waits = works * share / (1 - share) * math.exp(rng.gauss(0, 0.1))
        run.columns["data_time"][row], run.columns["time"][row] = waits, works + waits
    return Plant("waits for data", 0, share, clear)


def memory_grows(rng: random.Random, run: Run, clear: bool) -> Plant:
    """GPU memory grows to the end: something keeps its tensors."""
    row, size = _row(rng, run, 0.1, 0.4), _size(rng, clear, (1.4, 2.5), (1.2, 1.4))
    rest = run.rows - row
    column = run.columns["memory"]
    column[row:] = [float(round(v * (1 + (size - 1) * (n + 1) / rest))) for n, v in enumerate(column[row:])]
    return Plant("memory grows", row, size, clear)


def clamped(rng: random.Random, run: Run, clear: bool) -> Plant:
    """torch.nan_to_num makes the largest float of an infinite term, on a line or more."""
    row = _row(rng, run)
    name = rng.choice([name for name in run.terms if max(run.columns[name]) > 0])
    for at in range(row, min(run.rows, row + (rng.randint(3, 40) if clear else 1))):
        run.columns[name][at] = 3.4028234663852886e38
    run.total()
    return Plant("infinity clamped", row, math.inf, clear, name)


def _cross_entropies(run: Run) -> list[str]:
    return [name for name in run.terms if base(name).endswith("loss_ce") and max(run.columns[name]) > 0]


def below_zero(rng: random.Random, run: Run, clear: bool) -> Plant:
    """An NLL over raw logits: a cross-entropy below zero, from the first line or from a later one on."""
    row = 0 if clear else _row(rng, run, 0.3, 0.8)
    for name in _cross_entropies(run):
        run.columns[name][row:] = [value - 1.5 * run.columns[name][row] for value in run.columns[name][row:]]
    run.total()
    return Plant("cross-entropy below zero", row, 1.5, clear)


def term_not_logged(rng: random.Random, run: Run, clear: bool) -> Plant:
    """From a line on the total has a term more than those that are logged."""
    row, size = _row(rng, run), _size(rng, clear, (0.3, 1), (0.03, 0.3))
    run.columns["loss"][row:] = [value * (1 + size) for value in run.columns["loss"][row:]]
    return Plant("total is not its sum", row, size, clear)


def coefficient_changes(rng: random.Random, run: Run, clear: bool) -> Plant:
    """A loss is weighted otherwise from a line on: a schedule, or a term that is added twice."""
    row, size = _row(rng, run), _size(rng, clear, (1.5, 4), (1.1, 1.5))
    name = rng.choice([*run.family.unscaled])
    _scale(run, row, [size] * (run.rows - row), [name])
    run.columns[f"{name}_unscaled"][row:] = [v / size for v in run.columns[f"{name}_unscaled"][row:]]
    return Plant("coefficient changes", row, size, clear, name)


def one_side_still(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The classes are not learned at all, or hardly, while the boxes are."""
    moves = 0.0 if clear else rng.uniform(0.0, 0.005)
    for name in _cross_entropies(run):
        first = run.columns[name][0]
        share = [row / run.rows for row in range(run.rows)]
        run.columns[name] = [first * (1 - moves * at) * math.exp(rng.gauss(0, 0.004)) for at in share]
    run.total()
    return Plant("one side is not learned", 0, moves, clear)


def norm_runs_away(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The gradient grows by orders of magnitude, while clipping still holds the loss."""
    row, size = _row(rng, run, 0.2, 0.7), _size(rng, clear, (100, 1e5), (20, 100))
    rise = max(1, (run.rows - row) // 3)
    growth = [size ** min(1.0, (n + 1) / rise) for n in range(run.rows - row)]
    _norms(run, row, growth)
    return Plant("gradient explodes", row, size, clear)


def norm_vanishes(rng: random.Random, run: Run, clear: bool) -> Plant:
    """The gradient becomes nothing: a frozen part, a loss that no longer reaches the weights."""
    row, size = _row(rng, run, 0.2, 0.7), _size(rng, clear, (1e5, 1e7), (3e3, 1e5))
    _norms(run, row, [1 / size] * (run.rows - row))
    return Plant("gradient vanishes", row, size, clear)


def part_missing(rng: random.Random, run: Run, clear: bool) -> Plant:
    """A start continues further on than the one before came: the log between was not given."""
    row = _row(rng, run, 0.1, 0.5)
    run.restart = (row, run.places[row][0] + (rng.randint(1, 2) if clear else 0))
    if run.restart[1] >= run.epochs or run.places[row + 1][0] > run.restart[1]:
        run.restart = (0, 1)
    return Plant("part of the log missing", row, 1.0, clear)


def from_zero_again(rng: random.Random, run: Run, clear: bool) -> Plant:
    """A training that was stopped begins again from zero."""
    row = _row(rng, run, 0.4, 0.9) if clear else _row(rng, run, 0.15, 0.4)
    run.restart = (row, 0)
    return Plant("begun again from zero", row, row / run.rows, clear)


def weights_do_not_fit(rng: random.Random, run: Run, clear: bool) -> Plant:
    """Another model was saved: keys are missing while others are left over; or one that differs in a part."""
    parts = rng.sample(["backbone.layers", "neck.lateral", "encoder.attn", "decoder.ffn"], 4 if clear else 1)
    keys = [f"{part}.{n}.weight" for part in parts for n in range(rng.randint(2, 30))]
    other = [key.replace(".weight", ".gamma") for key in keys]
    run.says = (
        "The model and loaded state dict do not match exactly\n\n"
        f"unexpected key in source state_dict: {', '.join(other)}\n\n"
        f"missing keys in source state_dict: {', '.join(keys)}\n"
    )
    return Plant("weights do not fit", 0, len(keys), clear)


def stopped(kind: str) -> Callable[[random.Random, Run, bool], Plant]:
    """The training ends before its end, and the console says of what."""

    def plant(rng: random.Random, run: Run, clear: bool) -> Plant:
        row = _row(rng, run, 0.2, 0.95)
        run.cut(row + 1)
        run.ends = rng.choice(ENDS[kind])
        return Plant(kind, row, 1.0, clear)

    return plant


def _norms(run: Run, row: int, factors: list[float]) -> None:
    if "grad_norm" in run.columns:
        _scale_column(run.columns["grad_norm"], row, factors)


def _scale_column(values: list[float], row: int, factors: list[float]) -> None:
    for at, factor in enumerate(factors[: len(values) - row], row):
        values[at] *= factor


def _evaluations_from(run: Run, row: int, loss: float, metric: float) -> None:
    """Evaluations after a row, as a model shows that lost what it knew."""
    for epoch, found in run.evaluated.items():
        if epoch >= run.places[row][0]:
            run.evaluated[epoch] = {n: v * (loss if "loss" in n else metric) for n, v in found.items()}


def _local(values: list[float], row: int, reach: int = 4) -> float:
    """The mean around a row."""
    near = values[max(0, row - reach) : row + reach + 1]
    return math.fsum(near) / len(near)


STOPS = tuple(kind for kind in ENDS if kind != "NaN")


def _always(_: Run) -> bool:
    return True


def _config_with_drops(run: Run) -> bool:
    return bool(run.drops) and run.states_config and run.restart is None


def _several_terms(run: Run) -> bool:
    return len(run.terms) > 1 and run.format != DESCRIBED


def _norm_and_clip(run: Run) -> bool:
    return (
        bool(run.family.clip) and run.family.name in ("BEVFormer", "mmdet, two stages") and run.states_config
    )


def _evaluated(run: Run) -> bool:
    return len(run.evaluated) >= 5 and run.format != DESCRIBED


def _scored(run: Run) -> bool:
    return _evaluated(run) and any(
        name in found for name in run.family.metrics for found in run.evaluated.values()
    )


def _timed(run: Run) -> bool:
    return run.format in (TEXT, JSON, CONSOLE, MMENGINE, MMENGINE_JSON)


def _console(run: Run) -> bool:
    return run.format in (*NARRATED, DESCRIBED)


def _clamps(run: Run) -> bool:
    return run.family.nan_to_num


def _classifies(run: Run) -> bool:
    return run.format != DESCRIBED and bool(_cross_entropies(run))


def _adds_up(run: Run) -> bool:  # medians do not
    return _several_terms(run) and run.format != CONSOLE


def _two_sides(run: Run) -> bool:
    return _classifies(run) and run.family.name in ("DETR", "keypoints")


def _unscaled(run: Run) -> bool:
    return bool(run.family.unscaled)


def _normed(run: Run) -> bool:
    return "grad_norm" in run.columns and run.format != DESCRIBED


def _restarts(run: Run) -> bool:
    return run.restarts and run.epochs > 3


def _loads(run: Run) -> bool:
    return run.format == TEXT


def _warms(run: Run) -> bool:
    seen = run.family.warmup > 2 * (run.step(1) - run.step(0)) or run.family.warmup > 1000
    return seen and run.format in (TEXT, CONSOLE)


# kind -> how it is planted, and into which trainings it can be
FAULTS: Mapping[str, tuple[Callable[[random.Random, Run, bool], Plant], Callable[[Run], bool]]] = {
    "NaN": (not_a_number, _always),
    "explosion": (explosion, _always),
    "spike": (spike, _always),
    "total exactly 0": (zero, _always),
    "hump": (hump, _always),
    "one term rises": (rising_term, _several_terms),
    "flat": (flat, _always),
    "validation does not move": (validation_still, _evaluated),
    "validation falls behind": (overfit, _evaluated),
    "metric is 0": (metric_zero, _scored),
    "learning rate not dropped": (lr_kept, _config_with_drops),
    "learning rate back in warm-up": (lr_warms_again, _warms),
    "every step clipped": (clipped, _norm_and_clip),
    "steps slower": (slower, _timed),
    "waits for data": (data_bound, _timed),
    "memory grows": (memory_grows, _timed),
    "infinity clamped": (clamped, _clamps),
    "cross-entropy below zero": (below_zero, _classifies),
    "total is not its sum": (term_not_logged, _adds_up),
    "coefficient changes": (coefficient_changes, _unscaled),
    "one side is not learned": (one_side_still, _two_sides),
    "gradient explodes": (norm_runs_away, _normed),
    "gradient vanishes": (norm_vanishes, _normed),
    "part of the log missing": (part_missing, _restarts),
    "begun again from zero": (from_zero_again, _restarts),
    "weights do not fit": (weights_do_not_fit, _loads),
    **{kind: (stopped(kind), _console) for kind in STOPS},
}
