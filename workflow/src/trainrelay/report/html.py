"""report.html: one run on one page that opens from disk, asks for nothing and runs no script."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainrelay.records import RunReport, StageReport
from trainrelay.report import attention, card, details, wording
from trainrelay.report.families import is_learning_rate
from trainrelay.report.panels import Line, Panel, panels
from trainrelay.report.plots import svg, wants_log
from trainrelay.report.titles import check_title


@dataclass(frozen=True, slots=True)
class Plot:
    """A panel and its drawing; `drawing` is None where no curve leaves zero."""

    panel: Panel
    drawing: Markup | None
    is_log: bool
    has_gaps: bool


def run_html(report: RunReport) -> str:
    """The whole page; parts that are missing are said to be missing."""
    style = resources.files("trainrelay.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = _environment().get_template("report.html.j2")
    plots = [_plots(stage, f"s{place}") for place, stage in enumerate(report.stages, start=1)]
    stages = list(zip(report.stages, plots, strict=True))
    css = Markup(style)  # noqa: S704 - our own file
    return template.render(report=report, stages=stages, style=css, digest=digest)


def _plots(stage: StageReport, key: str) -> list[Plot]:
    if stage.analysis is None:
        return []
    per_epoch = stage.analysis.progress.iters_per_epoch
    restarts = details.restart_steps(stage)
    return [
        _plot(panel, f"{key}p{place}", per_epoch, restarts)
        for place, panel in enumerate(panels(stage.analysis), start=1)
    ]


def _plot(panel: Panel, prefix: str, per_epoch: int | None, restarts: tuple[int, ...]) -> Plot:
    values = [value for line in panel.lines for _, value in line.points]
    drawing = Markup(svg(panel, prefix, per_epoch, restarts)) if panel.lines else None  # noqa: S704 - our own SVG
    return Plot(panel, drawing, wants_log(panel), not all(map(wording.is_usable, values)))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trainrelay.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        card=card, attention=attention, details=details, wording=wording, check_title=check_title
    )
    environment.filters.update(
        number=wording.number,
        sentence=wording.sentence,
        evidence=wording.value,
        check_title=check_title,
        ends=_ends,
    )
    return environment


def _shown(thing: Any) -> Any:
    """Every value that reaches the page, with what cannot be shown made visible; markup of ours as it is."""
    return thing if isinstance(thing, Markup) or not isinstance(thing, str) else wording.clean(thing)


def _ends(line: Line) -> str:
    """First and last value of a curve."""
    show = wording.learning_rate if is_learning_rate(line.label) else wording.number
    return f"{show(line.points[0][1])} → {show(line.points[-1][1])}"
