"""Several trainings: as a table of Markdown with sparklines, and for the page overlaid, with what differs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from trainrelay.analysis import Compared, naming
from trainrelay.records import Analysis, RunReport, StageReport, Training
from trainrelay.report.details import steps_per_epoch
from trainrelay.report.escape import text
from trainrelay.report.formatting import is_usable, number
from trainrelay.report.panels import Curve, Line, Panel
from trainrelay.text import sparkline

_MOST_BARS = 20
_MOST_CHOICES = 24  # trainings of a plot; those past MOST_LINES are shown by a click on their names
_HEAD = "| Training | Verdict | Epoch | Loss | Course | Why |\n|---|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Trainings side by side; a row of `metrics` (at last) or `config` (what differs) has a text for each."""

    title: str
    names: Sequence[str]
    panels: Sequence[Panel]
    unit: int | None  # 1: the panels are over epochs
    metrics: Sequence[tuple[str, Sequence[str]]]
    config: Sequence[tuple[str, Sequence[str]]]


def of_run(stages: Sequence[StageReport]) -> list[Comparison]:
    """The stages of a run, and each with its archived trainings."""
    current = [Training(stage.name, stage.ingredients, stage.analysis) for stage in stages]
    found = list(_compared("The stages", current))
    for stage, training in zip(stages, current, strict=True):
        found += _compared(f"{stage.name} and its archived trainings", [training, *stage.archived])
    return found


def of_runs(runs: Sequence[RunReport]) -> list[Comparison]:
    """Each stage over the runs that have it."""
    found: dict[str, list[Training]] = {}
    for run in runs:
        for stage in run.stages:
            found.setdefault(stage.name, []).append(Training(run.run, stage.ingredients, stage.analysis))
    return [one for name, trainings in found.items() for one in _compared(f"{name}, by run", trainings)]


def _compared(title: str, trainings: Sequence[Training]) -> Iterator[Comparison]:
    """Nothing where no two were analysed."""
    read = {one.name: one.analysis for one in trainings if one.analysis}
    if len(read) < 2:
        return
    unit = 1 if all(map(steps_per_epoch, read.values())) else None
    curves = {name: _curves(one, (steps_per_epoch(one) or 1) if unit else 1) for name, one in read.items()}
    panels, metrics = [], []
    for metric in dict.fromkeys(chain(*curves.values())):
        lines = [Line(name, found[metric]) for name, found in curves.items() if metric in found]
        lasts = {line.label: number(line.points[-1][1]) for line in lines}
        metrics.append((metric, [lasts.get(one.name, "") for one in trainings]))
        if len(lines) > 1:
            more = tuple(line.label for line in lines[_MOST_CHOICES:])
            panels.append(Panel(metric, tuple(lines[:_MOST_CHOICES]), left_out=more))
    keys = dict.fromkeys(key for one in trainings for key in one.ingredients)
    config = [(key, [one.ingredients.get(key, "") for one in trainings]) for key in keys]
    differing = [(key, texts) for key, texts in config if len(set(texts)) > 1]
    yield Comparison(title, [one.name for one in trainings], panels, unit, metrics, differing)


def _curves(analysis: Analysis, scale: int) -> dict[str, Curve]:
    """What is compared, by its title: the total loss and the validation's scores."""
    train, val = analysis.curves.get("train", {}), analysis.curves.get("val", {})
    chosen = {"Total loss": analysis.total_curve()}
    chosen |= {name: val[name] for name in naming.validation_scores(train, val)}
    return {title: [(step / scale, y) for step, y in curve] for title, curve in chosen.items() if curve}


def comparison_markdown(trainings: Iterable[tuple[str, Analysis]]) -> str:
    """The table of trainings by their names, in the order given."""
    return _HEAD + "".join(_line(name, analysis) for name, analysis in trainings)


def _line(name: str, analysis: Analysis) -> str:
    came, verdict = analysis.progress, analysis.verdict
    epoch = f"{came.epoch}/{came.epochs}" if came.epochs else str(came.epoch)
    if analysis.by_iteration:
        epoch = f"iter {came.iteration}" + (f"/{came.iters_per_epoch}" if came.iters_per_epoch else "")
    total = analysis.total_summary
    loss = f"{number(total.first)} -> {number(total.last)}" if total else "-"
    course = _course([value for _, value in analysis.total_curve()])
    return f"| {text(name)} | {verdict.kind} | {epoch} | {loss} | {course} | {text(verdict.reason)} |\n"


def _course(values: list[float]) -> str:
    """At most 20 bars, each the mean of its part."""
    size = min(_MOST_BARS, len(values))
    parts = [values[at * len(values) // size : (at + 1) * len(values) // size] for at in range(size)]
    means = (sum(part) / len(part) for part in parts)
    return sparkline([mean if is_usable(mean) else math.nan for mean in means])


def compared_markdown(names: Iterable[str], parted: str, metrics: Compared) -> str:
    """Two trainings, called A and B, metric by metric."""
    called = "; ".join(f"{letter} is {text(name)}" for letter, name in zip("AB", names, strict=True))
    rows = (
        f"| {text(name)} | {' | '.join(map(number, (*final, *best)))} |"
        for name, (final, best) in metrics.items()
    )
    head = "| Metric | A, final | B, final | A, best | B, best |\n|---|---:|---:|---:|---:|"
    return "\n".join([f"{called}. {text(parted)}", "", head, *rows]) + "\n"
