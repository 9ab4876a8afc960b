"""The terms of the loss, a family at a time, and terms that vanished."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

from trainrelay.analysis.case import Case, Column, Family
from trainrelay.analysis.checks.causes import as_one, one_per_cause
from trainrelay.analysis.checks.validation_metric import by_rewards, measured
from trainrelay.analysis.knowledge.model import slow
from trainrelay.analysis.numbers import (
    JITTERS,
    NOTICEABLE,
    head_level,
    lowest,
    percent,
    reduction,
    tail_level,
    text,
    wobble,
)
from trainrelay.records import Finding, Severity

ROSE_AGAIN = 0.4  # of its lowest level
RISE = 0.1  # of the start: a term may give way to others by less
PRINTED = 5e-4  # ten times what four decimals leave of a value
LASTING = 3  # lines; fewer may be batches without a target
MOST_ALARMS = 3  # families; more have one cause
WHEN = {"stage 1": " in stage 1", "switch": " without {}"}
# From which share of the start on a fall is called what.
PRAISE = ((0.5, ", strong improvement"), (0.2, ", steady decrease"), (0.05, ", slower but steady"))


def components(case: Case) -> Iterator[Finding]:
    """One finding per family: first -> now; a warning where a loss rises, and one for many that do."""
    there = [family for family in case.families if family.values]
    found = [_course(case, one) if any(one.values) else _zero(case, one) for one in there]
    alarms = [finding for finding in found if finding.severity == "warning"]
    if len(alarms) > MOST_ALARMS:
        yield as_one(max(alarms, key=lambda one: float(one.evidence.get("change", 0.0))), alarms)
    yield from (one for one in found if one not in alarms or len(alarms) <= MOST_ALARMS)


def _zero(case: Case, family: Family) -> Finding:
    zero, evidence = case.zero(family.meaning), {"first": 0.0, "now": 0.0}
    name = f"{family.meaning.group}: {family.meaning.label}"
    if zero == "never" and len(family.values) >= case.points_to_judge:
        message = f"{name} is exactly 0.0 from the start, where a value is expected."
        advice = "Check that the term is switched on; torch.nan_to_num turns NaN into exactly 0.0."
        return _finding(family, "warning", message, evidence, advice)
    when = WHEN.get(family.meaning.zero, "").format(family.meaning.switch.replace("_", " "))
    expected = f", as expected{when}" if zero == "by design" else ""
    return _finding(family, "info", f"{name} remains 0.0 throughout{expected}.", evidence)


def _course(case: Case, family: Family) -> Finding:
    first, start, now = family.values[0], head_level(family.values), tail_level(family.values)
    evidence = {"first": first, "start": start, "now": now, "change": -reduction(first, now)}
    unit = f" {family.meaning.unit}" if family.meaning.unit else ""
    course = f"{family.meaning.group}: {family.meaning.label} {text(first)} -> {text(now)}{unit}"
    fine = _finding(family, "info", f"{course} ({_words(case, family, first, now)}).", evidence)
    judged = family.meaning.direction == "down" and family.meaning.loss and not by_rewards(case)
    if not judged or not start or len(family.values) < case.points_to_judge:  # 0.0: switched on later
        return fine
    at, best = lowest(family.values)
    above_start = now - start > max(NOTICEABLE, RISE * abs(start)) and not measured(
        case, family.meaning.group
    )
    clear = max(ROSE_AGAIN * abs(best), JITTERS * wobble(family.values), NOTICEABLE)
    if not above_start and now - best <= clear:
        return fine
    since, level = ("level at the start", start) if above_start else ("lowest level", best)
    message = f"{course}, up {percent(-reduction(level, now))} from its {since} ({text(level)})."
    advice = "See what changed there, whether the total loss falls at its cost, and check its weight."
    rows = [
        row for row in case.train if any(math.isfinite(row.values.get(n, math.nan)) for n in family.members)
    ]
    return replace(_finding(family, "warning", message, evidence, advice), where=case.where(rows[at]))


def _words(case: Case, family: Family, first: float, now: float) -> str:
    share = reduction(first, now)
    if family.meaning.direction is None or first == 0.0:
        return "no direction is better"
    if share == 0.0:
        return "unchanged"
    change = f"{percent(abs(share))} {'lower' if share > 0 else 'higher'}"
    if family.meaning.cross_entropy and not family.meaning.negative and now < 0:
        return f"{change}, below zero, which a correct cross-entropy never is"
    praise = next((words for least, words in PRAISE if share >= least and not case.failed), "")
    return change + (case.non_finite(*family.members) or praise)


def _finding(
    family: Family, severity: Severity, message: str, evidence: Mapping[str, object], advice: str = ""
) -> Finding:
    about = {
        "group": family.meaning.group,
        "family": family.meaning.family,
        "label": family.meaning.label,
        "members": len(family.members),
    }
    return Finding("components", severity, message, family.metric, None, {**about, **evidence}, advice)


def slow_patterns(case: Case) -> Iterator[Finding]:
    """Patterns of knowledge files that were left out, so that the metrics that they describe are unknown."""
    for pattern in sorted(slow) if case.names else ():
        message = f"A knowledge file's pattern takes too long on some names of metrics: {pattern}."
        advice = "Repeat less within repetitions: not (a+)+; what it describes was taken for unknown."
        yield Finding("slow-patterns", "info", message, advice=advice)


@one_per_cause
def lost_terms(case: Case) -> Iterator[Finding]:
    """A loss that was clearly above zero and is then exactly zero: the mark that nan_to_num leaves.

    Of the total it is critical where it stays so: nothing is trained any more.
    """
    for name in case.losses:
        zero = "never" if name == case.total else case.meanings[name].zero
        if zero in ("never", "stage 1", "switch") or not case.knowledge.name:
            yield from _lost(case, name, case.column(name))


def _lost(case: Case, name: str, column: Column) -> Iterator[Finding]:
    """The first zero that neither rounding explains nor, of an unknown model, a batch without a target."""
    values, total = column.values, name == case.total
    if 0.0 not in values:
        return
    rounded = next((at for at, value in enumerate(values) if 0 < value <= NOTICEABLE), len(values))
    last = next((at for at in reversed(range(len(values))) if values[at]), -1)  # that is not zero
    for at in [at for at, value in enumerate(values) if value == 0.0 and at >= 3]:
        level = median(values[max(0, at - 10) : at])
        for_good = total and len(values) - at >= LASTING and at > last
        lasts = at < rounded and values[at : at + LASTING] == [0.0] * LASTING
        lost = total or case.knowledge.name or lasts
        if not (lost and min(level, *values[at - 3 : at]) > (PRINTED if for_good else NOTICEABLE)):
            continue
        zeros, stays = values[at:].count(0.0), total and not any(values[-LASTING:])
        yield Finding(
            "lost-term",
            "critical" if stays else "warning",
            f"{name} fell from about {text(level)} to exactly 0.0 ({zeros} logged values are 0.0).",
            metric=name,
            where=case.where(column.rows[at]),
            evidence={"before": level, "zeros": zeros},
            advice="torch.nan_to_num turns NaN into exactly 0.0: look for NaN in this term's inputs.",
            blocking=stays,
        )
        return
