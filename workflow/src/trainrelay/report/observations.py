"""The key observations of an analysis: findings and metrics, the most important first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from trainrelay.analysis import group_title, grouped, naming
from trainrelay.records import Analysis, Finding, MetricSummary, Milestone
from trainrelay.report.escape import code, text
from trainrelay.report.formatting import (
    capital,
    check_title,
    is_usable,
    learning_rate,
    number,
    pairs,
    relative_change,
    sentence,
    shown_evidence,
)
from trainrelay.text import count

SEVERITY_WORDS = {"warning": "Warning", "critical": "Critical"}
# Good news of these checks belongs in the last paragraph, as reassurance.
REASSURING = ("non-finite", "spikes", "sum-identity", "backend")
MOST_VALIDATION_METRICS = 8  # lines that one reads; the page has a table of all


@dataclass(frozen=True, slots=True)
class Observation:
    """One numbered point. `title` and `note` are plain; `lines` are finished Markdown.

    `findings` are those it is about; every finding of an analysis is in exactly one place.
    """

    title: str
    note: str = ""
    summary: str = ""
    lines: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def observations(analysis: Analysis) -> list[Observation]:
    """All numbered points: what is critical and has no place below first, then the usual order."""
    usual = [
        *_convergence(analysis),
        *_components(analysis),
        *_checked(analysis, "negative-cross-entropy"),
        *_checked(analysis, "balance"),
        *_checked(analysis, "auxiliary"),
        *_validation(analysis),
        *_checked(analysis, "grad-norm", _plain(analysis, "grad_norm", "From {min} to {max}, now {last}.")),
        *_checked(analysis, "learning-rate", _plain(analysis, "lr", "Peaked at {max}, now at {last}.")),
        *_checked(analysis, "plateau"),
    ]
    placed = [finding for point in usual for finding in point.findings] + outside_the_points(analysis)
    there = set(map(id, placed))  # a log of many metrics has many findings
    others = [finding for finding in analysis.findings if id(finding) not in there]
    rest = [Observation(check_title(f.check), lines=(finding_line(f),), findings=(f,)) for f in others]
    urgent = [point for point in rest if point.findings[0].severity == "critical"]
    return urgent + usual + [point for point in rest if point not in urgent]


def outside_the_points(analysis: Analysis) -> list[Finding]:
    """Findings that are in the paragraphs around the numbered points."""
    return [
        finding
        for finding in analysis.findings
        if finding.check == "progress" or (finding.check in REASSURING and finding.severity == "info")
    ]


def finding_line(finding: Finding) -> str:
    """A finding with its severity, place, evidence and advice, as one Markdown line."""
    where = f" at {text(finding.where)}" if finding.where else ""
    metric = f" {code(finding.metric)}:" if finding.metric and finding.metric not in finding.message else ""
    head = f"**{SEVERITY_WORDS[finding.severity]}**{where}:{metric} " if finding.severity != "info" else ""
    parts = [head + text(sentence(finding.message))]
    evidence = shown_evidence(finding) if finding.severity != "info" else {}
    if evidence:
        parts.append(f"Evidence: {text(pairs(evidence))}.")
    if finding.advice:
        parts.append(f"Advice: {text(sentence(finding.advice))}")
    if finding.unless:
        parts.append(f"Not so if {text(finding.unless)}.")
    if finding.blocking:
        parts.append("This blocks the promotion of the checkpoint.")
    return " ".join(parts)


# ------------------------------------------------------------------ one function per usual point


def _convergence(analysis: Analysis) -> list[Observation]:
    found = _of(analysis, "convergence", "divergence")
    summary = analysis.total_summary
    if not found and summary is None:
        return []
    doubtful = _of(analysis, "negative-cross-entropy")
    judged = all(finding.evidence.get("enough", True) for finding in found)
    healthy = analysis.verdict.kind != "failed" and judged and not doubtful and not _alarms(found)
    fell = summary is not None and summary.last < summary.first
    title = "Healthy convergence" if healthy and fell else "Convergence"
    sentences = [_said(found, title) or _fall(summary), _steepest(analysis.progression)]
    return [Observation(title, "", " ".join(filter(None, sentences)), _alarms(found), tuple(found))]


def _components(analysis: Analysis) -> list[Observation]:
    """A point per group of metrics, a line per family; the check names both in its evidence."""
    groups: dict[str, list[Finding]] = {}
    for finding in _of(analysis, "components"):
        if "group" in finding.evidence:
            groups.setdefault(str(finding.evidence["group"]), []).append(finding)
    notes = _spread_notes(analysis)
    return [
        Observation(group_title(group), notes.get(group, ""), "", tuple(map(_course, found)), tuple(found))
        for group, found in groups.items()
    ]


def _course(finding: Finding) -> str:
    """What became of one family: a metric by its name, a mean over several in words."""
    message = finding.message.removeprefix(f"{finding.evidence['group']}: ")
    if finding.severity != "info":
        return finding_line(replace(finding, message=capital(message)))
    label = str(finding.evidence.get("label", ""))
    said = message.removeprefix(label).strip() or message
    is_mean = finding.evidence.get("members", 1) != 1 or not finding.metric
    name = text(capital(label)) if is_mean else code(finding.metric or label)
    return f"{name}: {text(said.rstrip('.'))}"


def _spread_notes(analysis: Analysis) -> dict[str, str]:
    """Over how many frames and decoder layers a group's families go, where they go over frames."""
    train = analysis.metrics.get("train", {})
    moving = {naming.split(name).family for name, each in train.items() if not each.min == each.max == 0}
    notes: dict[str, str] = {}
    for group, families in grouped(
        name for name in train if naming.is_component(name, analysis.total)
    ).items():
        framed = [each for names in families.values() for each in map(naming.split, names) if each.frame]
        frames = count(len({each.frame for each in framed}), "frame")
        layers = count(len({each.layer for each in framed} - {None}), "decoder layer")
        said = (f.removeprefix(f"{group}.").removeprefix("loss_") for f in families if f in moving)
        notes[group] = f"{' + '.join(said)} across {frames}, {layers}" if framed else ""
    return notes


def _validation(analysis: Analysis) -> list[Observation]:
    found, lines = _of(analysis, "validation", "validation-metric"), _validation_lines(analysis)
    if not found and not lines:
        return []
    return [Observation("Validation", "", _said(found), (*lines, *_alarms(found)), tuple(found))]


def _validation_lines(analysis: Analysis) -> list[str]:
    """What only a validation measures, then its losses, of the last decoder layer each: first -> last."""
    val = analysis.metrics.get("val", {})
    scores = naming.validation_scores(analysis.metrics.get("train", {}), val)
    names = list(dict.fromkeys([*scores, *naming.without_twins(filter(naming.is_component, val))]))
    earlier = {name for layers in naming.layered(names).values() for name in layers[:-1]}
    shown = [name for name in names if name not in earlier][:MOST_VALIDATION_METRICS]
    lines = [f"{code(name)}: {number(val[name].first)} -> {number(val[name].last)}" for name in shown]
    more = len(names) - len(shown)
    return [*lines, f"and {count(more, 'more metric')}"] if more else lines


def _plain(analysis: Analysis, metric: str, said: str) -> str:
    """A sentence with the numbers of a training metric, if the log has it."""
    each = analysis.metrics.get("train", {}).get(metric)
    show = learning_rate if metric == "lr" else number
    return said.format(min=show(each.min), max=show(each.max), last=show(each.last)) if each else ""


def _checked(analysis: Analysis, check: str, plain: str = "") -> list[Observation]:
    """The point of one check: its own words, or the plain numbers where it found nothing to say."""
    found = _of(analysis, check)
    if not found and not plain:
        return []
    return [Observation(check_title(check), "", _said(found) or plain, _alarms(found), tuple(found))]


# ------------------------------------------------------------------ words


def _fall(summary: MetricSummary | None) -> str:
    if summary is None or not is_usable(summary.first):
        return ""
    if summary.count == 1:
        return f"The total loss is {number(summary.first)} (only 1 point to judge by)."
    change = relative_change(summary.first, summary.last)
    size = ""
    if change is not None:
        size = f", a ~{abs(change) * 100:.0f}% {'reduction' if change <= 0 else 'rise'}"
    way = "dropped" if summary.last <= summary.first else "rose"
    return f"The total loss {way} from {number(summary.first)} to {number(summary.last)}{size}."


def _steepest(progression: tuple[Milestone, ...]) -> str:
    steps = list(pairwise(progression))
    falls = [(a.value - b.value, a, b) for a, b in steps if is_usable(a.value) and is_usable(b.value)]
    if len(falls) < 2:
        return ""
    size, a, b = max(falls, key=lambda fall: fall[0])
    return f"The steepest drop is between {text(a.label)} and {text(b.label)}." if size > 0 else ""


def _said(found: list[Finding], title: str = "") -> str:
    """The good news of these findings, without the title where a message repeats it."""
    good = [finding.message.removeprefix(f"{title}: ") for finding in found if finding.severity == "info"]
    return " ".join(text(sentence(capital(message))) for message in good)


def _alarms(found: list[Finding]) -> tuple[str, ...]:
    return tuple(finding_line(finding) for finding in found if finding.severity != "info")


def _of(analysis: Analysis, *checks: str) -> list[Finding]:
    return [finding for finding in analysis.findings if finding.check in checks]
