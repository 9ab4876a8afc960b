"""How the attempts of the training ended."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from trainrelay.diagnose.case import Case
from trainrelay.records import Finding


def attempts(case: Case) -> Iterator[Finding]:
    """How many attempts ended how, where the workflow knows it; a failure that came again is a warning."""
    ended = case.expectation.ended
    if not ended:
        return
    counts: Counter[str] = Counter(ended)
    ways = ", ".join(f"{count} {end}" for end, count in counts.items())
    number, alike = "1 attempt" if len(ended) == 1 else f"{len(ended)} attempts", ""
    if len(same := _alike(case.expectation.failed)) > 1:
        alike = f"{len(same)} attempts saved a checkpoint and then failed alike, at last: {same[-1]}. "
    yield Finding(
        "attempts",
        "warning" if alike else "info",
        f"{alike}{number}: {ways}.",
        evidence=dict(counts),
        advice="Check the failure in the log: what follows a checkpoint (an evaluation?) may never have run."
        if alike
        else "",
    )


def _alike(failures: Sequence[str]) -> list[str]:
    """The most that differ in numbers only, such as the epoch or the rank."""
    kinds: dict[str, list[str]] = {"": []}
    for failure in failures:
        kinds.setdefault(re.sub(r"\d+", "", failure), []).append(failure)
    return max(kinds.values(), key=len)
