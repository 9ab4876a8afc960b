"""The pages of a run and of all runs: they open from disk, ask for nothing and need no script."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from trainrelay.analysis import naming
from trainrelay.records import STOPPED, Overview, RunReport, StageReport
from trainrelay.report import attention, card, comparison, details, explanation, facts, formatting, marks
from trainrelay.report.panels import Line, Panel, panels
from trainrelay.report.plots import Drawing, draw
from trainrelay.text import count

if TYPE_CHECKING:
    from jinja2 import Environment


def run_html(report: RunReport) -> str:
    """The whole page; missing parts are named."""
    return _page("report.html.j2", report=report, stages=[(stage, _plots(stage)) for stage in report.stages])


def overview_html(overview: Overview) -> str:
    """The page of all runs; one of which nothing is known yet is listed too."""
    return _page("overview.html.j2", overview=overview)


def _page(template: str, **content: Any) -> str:
    ours = {"style": _ours("report.css"), "js": _ours("report.js")}
    return _environment().get_template(template).render(**ours, **content)


@cache
def _ours(name: str) -> tuple[Markup, str]:
    """A file of ours to put into the page, and its digest for the policy."""
    text = resources.files("trainrelay.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()  # noqa: S704


def address(run: str) -> str:
    """Where a run's report is, seen from the overview; nothing in a name leads elsewhere."""
    return f"{quote(run, safe='', errors='replace')}/report.html"


def _plots(stage: StageReport) -> list[tuple[Panel, Drawing | None]]:
    """Each panel and its drawing; None where no curve leaves zero."""
    if stage.analysis is None:
        return []
    unit, happened = details.steps_per_epoch(stage.analysis), marks.of(stage)
    return [(one, draw(one, unit, happened) if one.lines else None) for one in panels(stage.analysis)]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - not for text alone

    environment = Environment(
        loader=PackageLoader("trainrelay.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for room in (attention, card, comparison, details, explanation, facts, formatting, marks):
        environment.globals[room.__name__.split(".")[-1]] = room
    environment.globals.update(address=address, count=count, draw=draw, STOPPED=STOPPED)
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
    first, last = (show(line.points[at][1]) for at in (0, -1))
    return last if len(line.points) == 1 else f"{first} → {last}"
