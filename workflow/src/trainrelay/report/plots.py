"""One panel as an inline SVG, coloured by the page's style sheet; the page's script draws it again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup

from trainrelay.report.formatting import clean, is_usable, scientific
from trainrelay.report.marks import Mark
from trainrelay.report.panels import MOST_LINES, Line, Panel

WIDTH_PX, HEIGHT_PX = 440, 236
LEFT, RIGHT, TOP, BOTTOM = 55, 434, 7, 199  # px: where the axes end
LOG_FROM_RATIO = 30  # largest / smallest value from which a linear axis hides the small ones
FEW_POINTS = 30  # up to here each point is marked
TINY = 1e-290  # what is smaller has too few digits to place anything by
MOST_TICKS = 8
DECADES = 3  # of a logarithmic axis; over more, only powers of ten are marked

_CHART = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="chart" font-size="11.5">{}</svg>')
_PATH = Markup('<path class="stroke-{}" fill="none" stroke-width="{}" d="{}"{}></path>')
_DOT = Markup('<circle class="fill-s{}" cx="{:.1f}" cy="{:.1f}" r="2.25"></circle>')
_TEXT = Markup('<text class="fill-muted" text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>')
_DASHED = Markup(' stroke-dasharray="6 3"')
_MARK = Markup('<path class="mark-{}" d="{}"><title>{}</title></path>')


@dataclass(frozen=True, slots=True)
class Axis:
    """Places values between two pixels; `low` and `high` are logarithms where it is logarithmic."""

    low: float
    high: float
    start_px: float
    end_px: float
    log: bool = False

    def px(self, value: float) -> float:
        """Where a value is."""
        at = math.log10(value) if self.log else value
        return self.start_px + (at - self.low) / (self.high - self.low) * (self.end_px - self.start_px)

    def ticks(self, *, whole: bool = False) -> list[float]:
        """Round numbers: multiples of 1, 2 or 5 times a power of ten, or powers themselves."""
        span = self.high - self.low
        if self.log and span <= DECADES:
            powers = range(math.floor(self.low), math.ceil(self.high))
            found = (digit * 10.0**power for power in powers for digit in (1, 2, 5))
            return [value for value in found if self.low <= math.log10(value) <= self.high]
        unit = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
        least = 1.0 if whole or self.log else 0.0
        steps = (max(least, digit * unit) for digit in (1, 2, 5, 10))
        step = next(step for step in steps if span <= MOST_TICKS * step)
        found = (number * step for number in range(math.ceil(self.low / step), int(self.high // step) + 1))
        return [10.0**value for value in found] if self.log else list(found)


def axis(values: Sequence[float], start_px: float, end_px: float, margin: float, *, log: bool) -> Axis:
    """An axis that shows all of the values, with room beside them; 0 to 1 if there is none."""
    shown = [math.log10(value) for value in values] if log else values or (0.0, 1.0)
    low, high = min(shown), max(shown)
    if high - low <= max(1e-9 * abs(low), 1e-9 * abs(high), TINY):
        beside = max(abs(low), abs(high)) / 20
        beside = beside if beside > TINY else 0.05
        low, high = low - beside, high + beside
    room = margin * (high - low)
    return Axis(low - room, high + room, start_px, end_px, log)


class Drawing(NamedTuple):
    """A panel as an `<svg>` element, and what the page's script needs to draw the same."""

    svg: Markup
    values: Mapping[str, object]


def draw(panel: Panel, iters_per_epoch: int | None, marks: Sequence[Mark] = ()) -> Drawing:
    """The panel over epochs, or iterations."""
    unit, log = iters_per_epoch or 1, wants_log(panel)
    shown = panel.lines[:MOST_LINES]
    steps = [*(step for line in shown for step, _ in line.points), *(panel.span or ())]
    steps += [mark.step for mark in marks]
    across = axis([step / unit for step in steps], LEFT, RIGHT, 0.01, log=False)
    up = axis(_heights(panel), BOTTOM, TOP, 0.06, log=log)
    drawn = [
        *(_mark(mark, unit, across) for mark in marks),
        *_axes(across, up, "epoch" if iters_per_epoch else "iteration"),
        *(part for at, line in enumerate(shown, 1) for part in _curve(line, at, unit, across, up)),
        *(_PATH.format("level", 1.2, f"M{LEFT} {up.px(y):.1f}H{RIGHT}", _DASHED) for _, y in panel.levels),
    ]
    title = f"{panel.title} over {'epochs' if iters_per_epoch else 'iterations'}"
    values = {
        "unit": iters_per_epoch,
        "log": log,
        "span": panel.span,
        "lines": [_values(line) for line in panel.lines],
        "levels": [height for _, height in panel.levels],
        "marks": [(mark.kind, mark.step, mark.until, clean(mark.text)) for mark in marks],
    }
    return Drawing(_CHART.format(WIDTH_PX, HEIGHT_PX, clean(title), Markup().join(drawn)), values)


def _values(line: Line) -> Mapping[str, object]:
    """Exact but for means; None where a value is not finite."""
    xs, ys = zip(*line.points, strict=True) if line.points else ((), ())
    digits = 6 if line.members > 1 else 17
    shown = [float(f"{value:.{digits}g}") if is_usable(value) else None for value in ys]
    return {"name": clean(line.label), "mean": line.members > 1, "x": xs, "y": shown}


def _mark(mark: Mark, unit: int, across: Axis) -> Markup:
    """A band for what was redone, a triangle for a drop, a line for all else; with its text."""
    x = across.px(mark.step / unit)
    shapes = {
        "redone": f"M{x:.1f} {TOP}H{across.px((mark.until or mark.step) / unit):.1f}V{BOTTOM}H{x:.1f}Z",
        "rate": f"M{x - 4:.1f} {TOP}h8l-4 7Z",
    }
    line = f"M{x:.1f} {TOP}V{BOTTOM}"
    return _MARK.format(mark.kind, shapes.get(mark.kind, line), clean(mark.text))


def _axes(across: Axis, up: Axis, unit: str) -> Iterator[Markup]:
    heights = [(up.px(value), tick(value)) for value in up.ticks()]
    yield _PATH.format("grid", 0.8, "".join(f"M{LEFT} {y:.1f}H{RIGHT}" for y, _ in heights), "")
    yield _PATH.format("muted", 0.8, f"M{LEFT} {BOTTOM}H{RIGHT}", "")
    yield from (_TEXT.format("end", LEFT - 5, y + 4, label) for y, label in heights)
    places = ((across.px(value), tick(value)) for value in across.ticks(whole=True))
    yield from (_TEXT.format("middle", x, BOTTOM + 16, label) for x, label in places)
    yield _TEXT.format("end", RIGHT, HEIGHT_PX - 5, unit)


def _curve(line: Line, at: int, unit: int, across: Axis, up: Axis) -> Iterator[Markup]:
    """A curve with gaps where a value is not finite, and a cross on the axis there."""
    points = [
        (across.px(step / unit), up.px(value) if is_usable(value) else None) for step, value in line.points
    ]
    runs = (list(run) for finite, run in groupby(points, lambda point: point[1] is not None) if finite)
    pieces = ("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs)
    rounded = Markup(' stroke-linejoin="round" stroke-linecap="round"')
    yield _PATH.format(f"s{at}", 1.6, "".join(pieces), rounded)
    dots = [(x, y) for x, y in points if y is not None]
    if len(dots) <= FEW_POINTS:
        yield from (_DOT.format(at, x, y) for x, y in dots)
    for x in (x for x, y in points if y is None):
        yield _PATH.format("bad", 1.8, f"M{x - 3:.1f} {BOTTOM - 10}l6 6m0 -6l-6 6", "")


def tick(value: float) -> str:
    """A tick label that is short at every magnitude."""
    if value and not 1e-2 <= abs(value) < 1e5:
        return scientific(value)
    return f"{value:.6g}"


def wants_log(panel: Panel) -> bool:
    """Whether the drawn values span so much that a linear axis would hide the small ones."""
    values = _heights(panel)
    return bool(values) and min(values) > TINY and max(values) / min(values) > LOG_FROM_RATIO


def _heights(panel: Panel) -> list[float]:
    values: Iterable[float] = (value for line in panel.lines[:MOST_LINES] for _, value in line.points)
    return [value for value in (*values, *(height for _, height in panel.levels)) if is_usable(value)]
