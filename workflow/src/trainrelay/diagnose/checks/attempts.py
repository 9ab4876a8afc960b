"""How the attempts of the training ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from trainrelay.diagnose.case import Case
from trainrelay.records import Finding


def attempts(case: Case) -> Iterator[Finding]:
    """How many attempts ended how, where the workflow knows it."""
    ended = case.expectation.ended
    if not ended:
        return
    counts: Counter[str] = Counter(ended)
    ways = ", ".join(f"{count} {end}" for end, count in counts.items())
    number = "1 attempt" if len(ended) == 1 else f"{len(ended)} attempts"
    yield Finding("attempts", "info", f"{number}: {ways}.", evidence=dict(counts))
