"""All runs at one glance: the headline, what each stage shows, and the way to a run's report."""

from __future__ import annotations

from urllib.parse import quote

from trainrelay.records import Overview, RunReport, StageReport
from trainrelay.report import card, facts
from trainrelay.report.attention import notices
from trainrelay.report.card import Tone
from trainrelay.report.facts import Fact
from trainrelay.report.wording import count


def headline(overview: Overview) -> tuple[Tone, str, str]:
    """The tone of all runs together, one word for it and how many runs are complete."""
    complete = sum(all(stage.state == "complete" for stage in report.stages) for report in overview.runs)
    tone = card.worst(card.headline(report)[0] for report in overview.runs)
    return (
        tone,
        card.word(tone, whole=complete == len(overview.runs)),
        (f"{complete} of {count(len(overview.runs), 'run')} complete"),
    )


def address(run: str) -> str:
    """Where a run's report lies, seen from the overview; nothing in a name leads elsewhere."""
    return f"{quote(run, safe='', errors='replace')}/report.html"


def waiting(report: RunReport) -> int:
    """How many things of a run need attention."""
    return sum(len(notices(stage)) for stage in report.stages)


def stage_facts(stage: StageReport) -> tuple[Fact, ...]:
    """What the overview tells of a stage."""
    return (*facts.trained(stage), facts.time(stage), facts.backend(stage), facts.promoted(stage))
