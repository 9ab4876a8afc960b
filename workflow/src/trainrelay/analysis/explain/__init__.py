"""What the numbers of a log mean, with its own numbers; and what a single metric means, without a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainrelay.analysis.case import Case
from trainrelay.analysis.explain.groups import groups
from trainrelay.analysis.explain.lookup import explain_words
from trainrelay.analysis.explain.progress_line import progress_line
from trainrelay.analysis.explain.signs import signs
from trainrelay.analysis.explain.total import auxiliary_losses, progression, scaled_losses, total
from trainrelay.analysis.knowledge.model import Concept
from trainrelay.records import Explained, Explanation, Finding, Section

SPECIAL = {"total", "auxiliary", "scaled", "progression"}  # these have a section made of the log's numbers


def explanation(case: Case, findings: Sequence[Finding]) -> Explanation | None:
    """None for a log without a training line."""
    if not case.train:
        return None
    return Explanation(case.knowledge.name, tuple(_sections(case, findings)))


def _sections(case: Case, findings: Sequence[Finding]) -> Iterator[Section]:
    yield progress_line(case)
    yield from total(case)
    yield from groups(case)
    yield from auxiliary_losses(case)
    yield from scaled_losses(case)
    for concept in case.knowledge.concepts:
        if concept.key not in SPECIAL and (section := _concept(concept, findings)):
            yield section
    yield from progression(case)
    yield from signs(case, findings)


def _concept(concept: Concept, findings: Sequence[Finding]) -> Section | None:
    """None if the log has nothing on it."""
    found = [finding for finding in findings if finding.check in concept.checks]
    items = tuple(Explained("here", finding.message) for finding in found)
    return Section(concept.title, concept.text, items) if items or "non-finite" in concept.checks else None
