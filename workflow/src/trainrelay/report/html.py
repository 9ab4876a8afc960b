"""The pages of a run and of all runs: they open from disk, ask for nothing and run no script."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainrelay.analysis import count, naming
from trainrelay.records import Overview, RunReport, StageReport
from trainrelay.report import attention, card, details, explanation, facts, formatting
from trainrelay.report.panels import Line, Panel, panels
from trainrelay.report.plots import svg, wants_log


def run_html(report: RunReport) -> str:
    """The whole page; missing parts are named."""
    stages = [(stage, _plots(stage)) for stage in report.stages]
    tone, word, complete = card.headline(report)
    return _page("report.html.j2", report=report, stages=stages, tone=tone, word=word, complete=complete)


def overview_html(overview: Overview) -> str:
    """The page of all runs; one of which nothing is known yet is listed too."""
    tone, word, complete = card.overview_headline(overview)
    return _page("overview.html.j2", overview=overview, tone=tone, word=word, complete=complete)


def _page(template: str, **content: Any) -> str:
    style = resources.files("trainrelay.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    css = Markup(style)  # noqa: S704 - our own file
    return _environment().get_template(template).render(style=css, digest=digest, **content)


def address(run: str) -> str:
    """Where a run's report is, seen from the overview; nothing in a name leads elsewhere."""
    return f"{quote(run, safe='', errors='replace')}/report.html"


def _plots(stage: StageReport) -> list[tuple[Panel, Markup | None]]:
    """Each panel and its drawing; None where no curve leaves zero."""
    if stage.analysis is None:
        return []
    unit, restarts = details.steps_per_epoch(stage.analysis), details.restart_steps(stage)
    found = panels(stage.analysis)
    return [(panel, svg(panel, unit, restarts) if panel.lines else None) for panel in found]


def _has_gaps(panel: Panel) -> bool:
    return not all(formatting.is_usable(value) for line in panel.lines for _, value in line.points)


@cache
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
        address=address,
        attention=attention,
        card=card,
        count=count,
        details=details,
        explain=explanation,
        facts=facts,
        has_gaps=_has_gaps,
        wants_log=wants_log,
        formatting=formatting,
    )
    environment.filters.update(
        number=formatting.number,
        sentence=formatting.sentence,
        evidence=formatting.value,
        check_title=formatting.check_title,
        ends=_ends,
    )
    return environment


def _shown(thing: Any) -> Any:
    """Every value that reaches the page, with what cannot be shown made visible; markup of ours as it is."""
    return thing if isinstance(thing, Markup) or not isinstance(thing, str) else formatting.clean(thing)


def _ends(line: Line) -> str:
    """First and last value of a curve."""
    show = formatting.learning_rate if naming.is_learning_rate(line.label) else formatting.number
    return f"{show(line.points[0][1])} → {show(line.points[-1][1])}"
