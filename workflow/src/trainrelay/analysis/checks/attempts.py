"""What the workflow knows of the training: how its attempts ended, and their communication backend."""

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


def backend(case: Case) -> Iterator[Finding]:
    """gloo on GPUs works and is slower; another backend than the workflow set is a warning."""
    seen, expected = case.log.setup.get("backend"), case.expectation.backend
    if seen and expected and seen != expected:
        yield Finding(
            "backend",
            "warning",
            f"The workflow set the {expected} backend, but the trainer's config has {seen}.",
            evidence={"expected": expected, "seen": seen},
            advice="Check that --cfg-options dist_params.backend=... reaches the trainer.",
        )
    on_gpus = "gpus" in case.log.setup or "memory" in case.names  # mmcv prints it only if there are GPUs
    if (seen or expected) == "gloo" and on_gpus:
        yield Finding(
            "backend",
            "info",
            "The gloo backend is in use on GPUs; it works, and is slower than NCCL.",
            evidence={"backend": "gloo"},
            advice="Try NCCL with NCCL_P2P_DISABLE=1 or NCCL_IB_DISABLE=1 before settling for gloo.",
        )
