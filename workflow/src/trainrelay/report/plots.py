"""One panel as an inline SVG: drawn by matplotlib, coloured by the page's style sheet.

matplotlib sees numbers and fixed words only; names from outside stay in the page's legend. It draws
in sentinel colours, which `svg.py` turns into CSS classes, so that a plot is readable on light and
dark. matplotlib is imported when the first plot is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainrelay.report.formatting import is_usable, scientific
from trainrelay.report.panels import Curve, Panel
from trainrelay.report.svg import BAD, FOREGROUND, GRID, LEVEL, MUTED, inline, series_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_PX, HEIGHT_PX = 440, 236
LOG_FROM_RATIO = 30  # largest / smallest value from which a linear axis hides the small ones
FONT_PX = 11.5
FEW_POINTS = 30  # up to here each point is marked
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "trainrelay",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": FOREGROUND,
    "font.size": FONT_PX,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
}


def svg(panel: Panel, prefix: str, iters_per_epoch: int | None, restarts: Sequence[int] = ()) -> str:
    """The panel as an `<svg>` element. `prefix` makes its ids unique in the page; restarts are steps."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        figure = Figure(figsize=(WIDTH_PX / 72, HEIGHT_PX / 72), dpi=72)
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.125, 0.155, 0.862, 0.815))
        _draw(axes, panel, iters_per_epoch or 1, restarts)
        _show_whole_training(axes, panel, iters_per_epoch or 1)
        _style_axes(axes, panel, "epoch" if iters_per_epoch else "iteration")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline(
        drawn.getvalue(), prefix, f"{panel.title} over {'epochs' if iters_per_epoch else 'iterations'}"
    )


def _draw(axes: Axes, panel: Panel, unit: int, restarts: Sequence[int]) -> None:
    """Curves with gaps where a value is not finite, and a cross on the axis there."""
    for place, line in enumerate(panel.lines):
        colour = series_colour(place)
        xs = [step / unit for step, _ in line.points]
        ys = [value if is_usable(value) else float("nan") for _, value in line.points]
        marker = "o" if sum(map(is_usable, ys)) <= FEW_POINTS else ""
        axes.plot(xs, ys, color=colour, linewidth=1.6, solid_capstyle="round", marker=marker, markersize=4.5)
        _mark_gaps(axes, [x for x, y in zip(xs, ys, strict=True) if not is_usable(y)])
    for _, height in panel.levels:
        axes.axhline(height, color=LEVEL, linewidth=1.2, linestyle=(0, (6, 3)))
    for step in restarts:
        axes.axvline(step / unit, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))


def _show_whole_training(axes: Axes, panel: Panel, unit: int) -> None:
    """The whole training on the horizontal axis, with whatever is beyond it."""
    if panel.span is not None:
        axes.update_datalim([(step / unit, 0) for step in panel.span], updatey=False)
        axes.autoscale_view(scaley=False)


def _mark_gaps(axes: Axes, xs: list[float]) -> None:
    if xs:
        height = [0.035] * len(xs)
        transform = axes.get_xaxis_transform()
        axes.plot(xs, height, "x", color=BAD, markersize=6, markeredgewidth=1.8, transform=transform)


def _style_axes(axes: Axes, panel: Panel, unit: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter  # noqa: PLC0415

    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.8)
    axes.tick_params(length=0, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    if wants_log(panel):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.margins(x=0.01, y=0.06)
    axes.set_xlabel(unit, labelpad=2, loc="right")


def tick(value: float) -> str:
    """A tick label that is short at every magnitude."""
    if value and not 1e-2 <= abs(value) < 1e5:
        return scientific(value)
    return f"{value:.6g}"


def wants_log(panel: Panel) -> bool:
    """Whether the drawn values span so much that a linear axis would hide the small ones."""
    values = [value for curve in _curves(panel) for _, value in curve if is_usable(value)]
    return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_FROM_RATIO


def _curves(panel: Panel) -> list[Curve]:
    return [*(line.points for line in panel.lines), *([(0, height)] for _, height in panel.levels)]
