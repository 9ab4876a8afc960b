"""How the attempts of the training ended."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from trainrelay.analysis.case import Case
from trainrelay.analysis.numbers import count
from trainrelay.records import Finding


def attempts(case: Case) -> Iterator[Finding]:
    """How many attempts ended how, where the workflow knows it; a failure that came again is a warning."""
    ended = case.expectation.ended
    if not ended:
        return
    counts: Counter[str] = Counter(ended)
    ways = ", ".join(f"{times} {end}" for end, times in counts.items())
    # What differs in numbers only, such as the epoch or the rank, is the same.
    failed = Counter(
        re.sub(r"(?<!line )(?<!\d)\d+", "N", why) for why in case.expectation.failed
    ).most_common(1)
    again = [f"{times} attempts saved a checkpoint, then failed: {why}" for why, times in failed if times > 1]
    yield Finding(
        "attempts",
        "warning" if again else "info",
        ". ".join([*again, f"{count(len(ended), 'attempt')}: {ways}."]),
        evidence=dict(counts),
        advice="Check the failure in the log: what follows a checkpoint (an evaluation?) may never have run."
        if again
        else "",
    )
