"""Which curves of an analysis are drawn together: a few panels, whatever the number of metrics."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from trainrelay.analysis import group_title, grouped, naming
from trainrelay.records import Analysis, Phase
from trainrelay.report.formatting import is_usable

MOST_LINES = 8  # as many as there are colours that can be told apart

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve over steps; `members` metrics are averaged in it."""

    label: str
    points: Curve
    members: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. `levels` are horizontal lines; `zero` and `left_out` are named below it, not drawn. Of lines
    past MOST_LINES the page's script draws those that are chosen.

    `span` is the range of steps of the whole training, so that all plots of a stage share their axis.
    """

    title: str
    lines: tuple[Line, ...]
    levels: tuple[tuple[str, float], ...] = ()
    zero: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    span: tuple[int, int] | None = None


def panels(analysis: Analysis) -> tuple[Panel, ...]:
    """The total, the validation, what drives them, then the components; none without a curve."""
    train = analysis.curves.get("train", {})
    components = [name for name in train if naming.is_component(name, analysis.total)]
    candidates = [
        _total(analysis),
        *_validation(analysis),
        Panel("Learning rate", tuple(_lines(train, filter(naming.is_learning_rate, train)))),
        Panel("Gradient norm", tuple(_lines(train, ["grad_norm"])), _clip(analysis)),
        *_components(naming.without_twins(components), train),
        Panel("Time per iteration", tuple(_lines(train, ["time", "data_time", "data"]))),
        Panel("GPU memory", tuple(_lines(train, ["memory", "max mem"]))),
    ]
    span = _span(analysis)
    return tuple(replace(panel, span=span) for panel in candidates if panel.lines or panel.zero)


def _span(analysis: Analysis) -> tuple[int, int] | None:
    """From 0, but for a log that begins late in its training, which would be squeezed into a corner."""
    curves = [curve for phase in analysis.curves.values() for curve in phase.values() if curve]
    if not curves:
        return None
    first, last = min(curve[0][0] for curve in curves), max(curve[-1][0] for curve in curves)
    return (0 if first <= last / 2 else first, last)


def _total(analysis: Analysis) -> Panel:
    # Beside the means of whole epochs, the rows are something else.
    rows = "training (medians)" if analysis.total_curve("epoch") else "training"
    labels: dict[Phase, str] = {"train": rows, "epoch": "epoch mean", "val": "validation"}
    curves = {label: analysis.total_curve(phase) for phase, label in labels.items()}
    return Panel("Total loss", tuple(Line(label, curve) for label, curve in curves.items() if curve))


def _validation(analysis: Analysis) -> Iterator[Panel]:
    """A panel for those of about one size, so that none is flat on the axis of another."""
    curves = analysis.curves.get("val", {})
    names = naming.validation_scores(analysis.curves.get("train", {}), curves)
    lines = (Line(name, curves[name]) for name in names if curves[name])
    sizes = [
        (size, list(found)) for size, found in groupby(sorted(lines, key=_decade, reverse=True), key=_decade)
    ]
    for size, found in sizes:
        below = f" below {10.0**size:g}" if len(sizes) > 1 else ""
        yield _highest_lines(f"Validation metrics{below}", found)


def _decade(line: Line) -> int:
    return math.floor(math.log10(_height(line) or 0.1)) + 1


def _components(names: list[str], curves: Mapping[str, Curve]) -> Iterator[Panel]:
    """The losses of numbered decoder layers together, everything else by its group."""
    layers = naming.layered(names).values()
    lines = [family_mean(*family, curves) for found in layers for family in _layers(found)]
    yield _highest_lines("Losses of the decoder layers", lines)
    shown = {name for found in layers for name in found}
    for group, families in grouped(name for name in names if name not in shown).items():
        lines = [family_mean(label, members, curves) for label, members in families.items()]
        no_losses = not group and not any(naming.is_loss(line.label) for line in lines)
        yield _highest_lines("Other metrics" if no_losses else group_title(group), lines)


def _layers(names: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """The last decoder layer alone, then the earlier ones."""
    *earlier, last = names
    to = f" to {earlier[-1].removeprefix(last)}" if len(earlier) > 1 else ""
    yield last, [last]
    yield f"{earlier[0]}{to}", earlier


def _highest_lines(title: str, lines: list[Line]) -> Panel:
    """The highest lines drawn, as many as can be told apart; the others named."""
    zero = [line.label for line in lines if all(value == 0 for _, value in line.points)]
    moving = [line for line in lines if line.label not in zero]
    drawn = sorted(moving, key=_height, reverse=True)[:MOST_LINES]
    left_out = tuple(line.label for line in moving if line not in drawn)
    lines_in_order = tuple(line for line in moving if line in drawn)
    return Panel(title, lines_in_order, zero=tuple(zero), left_out=left_out)


def _lines(curves: Mapping[str, Curve], names: Iterable[str]) -> list[Line]:
    return [Line(name, curves[name]) for name in names if curves.get(name)][:MOST_LINES]


def _clip(analysis: Analysis) -> tuple[tuple[str, float], ...]:
    """The clip value, where the evidence of the gradient-norm check holds it."""
    found = [finding.evidence.get("clip") for finding in analysis.findings if finding.check == "grad-norm"]
    return tuple(("clip value", float(c)) for c in found if isinstance(c, int | float) and is_usable(c))


def _height(line: Line) -> float:
    return max((abs(value) for _, value in line.points if is_usable(value)), default=0.0)


def family_mean(label: str, members: Sequence[str], curves: Mapping[str, Curve]) -> Line:
    """The mean over the members at each step of the member with the most points.

    A member that was sampled at other steps counts with its latest value there.
    """
    sampled = [curves[member] for member in members]
    grid = [step for step, _ in max(sampled, key=len)]
    columns = [_resampled(curve, grid) for curve in sampled]
    means = [sum(values) / len(values) for values in zip(*columns, strict=True)]
    return Line(label, tuple(zip(grid, means, strict=True)), len(members))


def _resampled(curve: Curve, grid: list[float]) -> list[float]:
    """The values of a curve at other steps: the latest one up to there, before the first one the first."""
    steps = [step for step, _ in curve]
    if steps == grid:
        return [value for _, value in curve]
    return [curve[max(bisect_right(steps, step) - 1, 0)][1] for step in grid]
