"""Down a ladder to the first rung that works; each fallback is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainrelay.records import ProbeResult
from trainrelay.trainers import Rung


def probe_ladder(
    rungs: Sequence[Rung], probe_one: Callable[[Rung], ProbeResult], say: Callable[[str], None]
) -> list[ProbeResult]:
    """Probes rungs, best first, and stops at the first that works: the last result, if any does."""
    results: list[ProbeResult] = []
    for number, rung in enumerate(rungs, start=1):
        result = probe_one(rung)
        results.append(result)
        text = result_text(result)
        if result.outcome == "works":
            say(f"warning: falls back to {result.rung}: {text}" if number > 1 else text)
            break
        following = f"trying {rungs[number].name}" if number < len(rungs) else "no other backend is left"
        say(f"warning: {text}; {following}; log: {result.log}")
    return results


def result_text(result: ProbeResult) -> str:
    """A result in words: `nccl works here, all_reduce at 21.5 GB/s (256 MB)`."""
    if result.error is not None:
        return f"{result.rung} {result.outcome} here: {result.error}"
    speeds = (f"{speed:.3g} GB/s ({size} MB)" for size, speed in sorted(result.gb_per_s.items()))
    return f"{result.rung} {result.outcome} here, all_reduce at {', '.join(speeds)}"
