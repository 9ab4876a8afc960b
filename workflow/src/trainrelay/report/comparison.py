"""Several trainings as a table of Markdown, one line per training, its loss as a sparkline."""

from __future__ import annotations

from collections.abc import Iterable

from trainrelay.records import Analysis
from trainrelay.report.escape import text
from trainrelay.report.formatting import is_usable, number

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 20
_HEAD = "| Training | Verdict | Epoch | Loss | Course | Why |\n|---|---|---|---|---|---|\n"


def comparison_markdown(trainings: Iterable[tuple[str, Analysis]]) -> str:
    """The table of trainings by their names, in the order given."""
    return _HEAD + "".join(_line(name, analysis) for name, analysis in trainings)


def _line(name: str, analysis: Analysis) -> str:
    came, verdict = analysis.progress, analysis.verdict
    epoch = f"{came.epoch}/{came.epochs}" if came.epochs else str(came.epoch)
    if analysis.by_iteration:
        epoch = f"iter {came.iteration}" + (f"/{came.iters_per_epoch}" if came.iters_per_epoch else "")
    total = analysis.metrics.get("train", {}).get(analysis.total or "")
    loss = f"{number(total.first)} -> {number(total.last)}" if total else "-"
    course = sparkline([value for _, value in analysis.curves.get("train", {}).get(analysis.total or "", ())])
    return f"| {text(name)} | {verdict.kind} | {epoch} | {loss} | {course} | {text(verdict.reason)} |\n"


def sparkline(values: list[float]) -> str:
    """At most 20 bars, from the lowest to the highest value; `!` where a value is not finite."""
    size = min(_MOST_BARS, len(values))
    parts = [values[at * len(values) // size : (at + 1) * len(values) // size] for at in range(size)]
    means = [sum(part) / len(part) for part in parts]
    drawn = [mean for mean in means if is_usable(mean)]
    low, high = min(drawn, default=0.0), max(drawn, default=0.0)
    scale = (len(_BARS) - 1) / ((high - low) or 1.0)
    return "".join(_BARS[round((mean - low) * scale)] if is_usable(mean) else "!" for mean in means)
