"""Several trainings as a table of Markdown, one line per training, its loss as a sparkline."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trainrelay.analysis import Compared
from trainrelay.records import Analysis
from trainrelay.report.escape import text
from trainrelay.report.formatting import is_usable, number
from trainrelay.text import sparkline

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
    course = _course([value for _, value in analysis.curves.get("train", {}).get(analysis.total or "", ())])
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
