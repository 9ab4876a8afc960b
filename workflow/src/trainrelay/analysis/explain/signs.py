"""Good and warning signs, each judged by its check with this log's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

from trainrelay.analysis.case import Case
from trainrelay.analysis.checks.convergence import levels
from trainrelay.analysis.checks.finiteness import cross_entropies
from trainrelay.analysis.checks.scaling import scales
from trainrelay.analysis.explain.groups import trend
from trainrelay.analysis.knowledge.model import KnownSign, matching
from trainrelay.analysis.numbers import text
from trainrelay.analysis.progression import progression
from trainrelay.records import Finding, Section, Sign

TITLE = "What to look for"

Judged = tuple[bool | None, str]


def signs(case: Case, findings: Sequence[Finding]) -> Iterator[Section]:
    """One section; nothing where no sign is known."""
    known = [sign for sign in case.knowledge.signs if sign.stage == "any" or case.stage_one]
    if known:
        yield Section(TITLE, signs=tuple(_sign(case, findings, sign) for sign in known))


def _sign(case: Case, findings: Sequence[Finding], sign: KnownSign) -> Sign:
    seen, evidence = JUDGES[sign.judge](case, findings, sign)
    return Sign(sign.kind, sign.text, seen, evidence, sign.checks[0])


def _by_findings(case: Case, findings: Sequence[Finding], sign: KnownSign) -> Judged:
    """A warning or critical finding makes a warning sign, and unmakes a good one."""
    found = [one for one in findings if one.check in sign.checks and _concerned(sign, one)]
    warnings = [one for one in found if one.severity != "info"]
    if warnings:
        more = f" ({len(warnings) - 1} more)" if len(warnings) > 1 else ""
        return sign.kind == "warning", warnings[0].message + more
    if undecided := [one.message for one in found if one.evidence.get("enough") is False]:
        return None, undecided[0]  # too few points to judge
    messages = [one.message for one in found]
    unfound = [seen for check in sign.checks if (seen := _without_finding(case, check))]
    # Components have one finding per family: one sentence for all, if the sign is about all.
    about_all = sign.checks[0] == "components" and not sign.about
    quiet = unfound or messages if about_all else messages or unfound
    if not quiet:
        return None, UNKNOWN.get(sign.checks[0], "This log does not show it.")
    return sign.kind == "good", quiet[0]


def _falls(case: Case, findings: Sequence[Finding], sign: KnownSign) -> Judged:
    """Every metric that is named by the sign; the total by its own name."""
    said, fell = [], []
    for pattern in sign.falls:
        names = _matching(case, pattern)
        went = trend(case, names) if names else None
        if went is None:
            continue
        name = names[0] if len(names) == 1 else f"the mean of {len(names)} metrics"
        said.append(f"{name}: {went.words()}")
        fell.append(went.falls)
    if not fell:
        return None, "This log has no two points of it to compare."
    if _negative(findings, sign):
        return None, f"{said[0]}. A cross-entropy below zero is in it, so its fall is no sign of health."
    return all(fell), "; ".join(said) + "."


def _concerned(sign: KnownSign, found: Finding) -> bool:
    return not sign.about or bool(matching(sign.about, found.metric or ""))


def _matching(case: Case, pattern: str) -> list[str]:
    if pattern == "loss":
        return [case.total] if case.total else []
    return [name for name in case.names if matching(pattern, name)]


def _negative(findings: Sequence[Finding], sign: KnownSign) -> bool:
    terms = {
        term
        for one in findings
        if one.check == "negative-cross-entropy"
        for term in ("loss", *one.evidence["terms"])
    }
    return not terms.isdisjoint(sign.falls)


def _steepest(case: Case, _findings: Sequence[Finding], _sign: KnownSign) -> Judged:
    """Between which two points of the progression the total lost most."""
    points = progression(case)
    if len(points) < 3:
        return None, "The log has too few points to judge."
    before, after = max(pairwise(points), key=lambda pair: pair[0].value - pair[1].value)
    fell = f"{text(before.value)} -> {text(after.value)} between {before.label} and {after.label}."
    return after.epoch == points[0].epoch, f"The steepest drop: {fell}"


JUDGES: Mapping[str, Callable[[Case, Sequence[Finding], KnownSign], Judged]] = {
    "findings": _by_findings,
    "falls": _falls,
    "steepest": _steepest,
}


def _without_finding(case: Case, check: str) -> str:
    """What a check that found nothing has looked at; empty where it had nothing to look at."""
    seen = ""
    match check:
        case "non-finite":
            seen = f"None of {sum(len(row.values) for row in case.log.rows)} logged numbers is NaN or Inf."
        case "spikes" if case.total and (values := case.column(case.total).values):
            seen = f"None in {len(values)} logged values of the total loss."
        case "negative-cross-entropy":
            values = [value for name in cross_entropies(case) for value in case.column(name).values]
            seen = f"The lowest of {len(values)} logged values is {text(min(values))}." if values else ""
        case "plateau" if (found := levels(case)) and found.points >= found.points_to_judge:
            seen = "The descent has not slowed."
        case "scaling" if ratios := scales(case):
            last_layers = [one for one in ratios if "_" not in one.name.removeprefix("loss_")]
            shown = ", ".join(f"{one.name} {text(one.ratio)}" for one in (last_layers or ratios)[:3])
            seen = f"Every ratio of scaled to unscaled stays the same: {shown}."
        case "backend" if "backend" in case.log.setup:
            seen = f"The log names {case.log.setup['backend']}."
        case "lost-term" if case.losses:
            seen = f"None of {len(case.losses)} losses became exactly 0.0."
        case "components" if case.losses:
            seen = f"None of {len(case.losses)} losses has risen."
    return seen


UNKNOWN = {
    "validation": "This log has no validation loss to compare.",
    "validation-metric": "This log has no validation metric whose direction is known.",
    "auxiliary": "This log has no losses of earlier layers.",
    "balance": "This log does not have both, or not with positive values.",
    "scaling": "This log has no unscaled twins.",
    "grad-norm": "This log has no gradient norm.",
    "learning-rate": "This log has no learning rate.",
    "backend": "This log does not name its backend.",
}
