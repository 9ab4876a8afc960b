"""What the ranks of a probe left behind, read and judged (pure)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from signal import SIGABRT
from typing import Any, Literal

from trainrelay.progress_lines.tracebacks import (
    CONSEQUENCE,
    LoggedError,
    dead_ranks,
    logged_errors,
    signal_name,
)
from trainrelay.text import quoted

NOT_STARTED = "not started"
_DONE = "done"
_NCCL_LAST = re.compile(r"Last error:\s*\n?\s*(\S.*)")
_NCCL_WARNING = re.compile(r"NCCL WARN\s+(\S.*)")
_NCCL_CLASS = re.compile(r"^\s*(nccl\w+: .*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RankProgress:
    """How far one rank came. `gb_per_s` by size in MB."""

    rank: int
    phase: str = NOT_STARTED
    error: str | None = None
    error_at_s: float = math.inf
    gb_per_s: Mapping[int, float] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it received every value as it was sent."""
        return self.phase == _DONE and self.error is None


def rank_progress(rank: int, text: str) -> RankProgress:
    """A rank from the lines of its file; what is no line of ours, the half of one too, counts for nothing."""
    seen = RankProgress(rank)
    for line in text.splitlines():
        said = _object(line)
        if isinstance(said.get("phase"), str) and not seen.done:
            seen = _after(seen, said)
    return seen


def logged_progress(rank: int, log: Sequence[str]) -> RankProgress:
    """A rank from what it printed among all else."""
    mark = f"trainrelay {rank}: "
    return rank_progress(rank, "\n".join(line[len(mark) :] for line in log if line.startswith(mark)))


def _object(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _after(seen: RankProgress, said: Mapping[str, Any]) -> RankProgress:
    error, at_s, speeds = said.get("error"), said.get("at_s"), said.get("gb_per_s")
    return RankProgress(
        rank=seen.rank,
        phase=quoted(said["phase"]),
        error=error if isinstance(error, str) else None,
        error_at_s=at_s if isinstance(at_s, float) else math.inf,
        gb_per_s=_speeds(speeds) if isinstance(speeds, dict) else {},
    )


def _speeds(said: Mapping[str, Any]) -> dict[int, float]:
    return {
        int(size): speed
        for size, speed in said.items()
        if size.isdecimal() and len(size) < 10 and isinstance(speed, float) and math.isfinite(speed)
    }


def is_over(ranks: Sequence[RankProgress]) -> bool:
    """Whether nothing more can change the outcome: every rank is done, or one failed."""
    return all(rank.done for rank in ranks) or any(rank.error for rank in ranks)


@dataclass(frozen=True, slots=True)
class ProbeVerdict:
    """What became of a rung, and why."""

    outcome: Literal["works", "fails", "hangs"]
    error: str | None = None
    gb_per_s: Mapping[int, float] = field(default_factory=dict)


def judge(
    ranks: Sequence[RankProgress], lines: Sequence[str], status: int | None, took_s: float
) -> ProbeVerdict:
    """`status` is the launcher's, None if it had to be ended; `lines` are the log's."""
    if all(rank.done for rank in ranks):
        return ProbeVerdict("works", gb_per_s=_slowest(ranks))
    if status is not None or any(rank.error for rank in ranks):
        return ProbeVerdict("fails", quoted(_failure(ranks, lines, status)))
    return ProbeVerdict("hangs", quoted(f"no end after {took_s:.0f} s: {where(ranks)}"))


def _slowest(ranks: Sequence[RankProgress]) -> dict[int, float]:
    """A collective is as fast as its slowest rank."""
    sizes = set.intersection(*(set(rank.gb_per_s) for rank in ranks))
    return {size: min(rank.gb_per_s[size] for rank in ranks) for size in sorted(sizes)}


def where(ranks: Sequence[RankProgress]) -> str:
    """Where each rank is: `ranks 0-2 in all_reduce 25 MB, rank 3 not started`."""
    phases: dict[str, list[int]] = {}
    for rank in ranks:
        phases.setdefault(rank.phase, []).append(rank.rank)
    return ", ".join(f"{_named(numbers)} {_doing(phase)}" for phase, numbers in phases.items())


def _doing(phase: str) -> str:
    return phase if phase in (_DONE, NOT_STARTED) else f"in {phase}"


def _named(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    spans = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return f"rank{'s' if len(numbers) > 1 else ''} {', '.join(spans)}"


# ---------------------------------------------------------------------- the first line that matters


def _failure(ranks: Sequence[RankProgress], lines: Sequence[str], status: int | None) -> str:
    """What came first: what follows it is ranks that lost the one that failed."""
    dead = next((dead for dead in dead_ranks(lines) if dead.status < 0), None)
    failed = [rank for rank in ranks if rank.error]
    # By SIGABRT NCCL ends a rank that has said why.
    if dead and not (failed and dead.status == -SIGABRT):
        return f"{dead.rank} ended by {signal_name(-dead.status)}: {where(ranks)}"
    if failed:
        first = min(failed, key=lambda rank: rank.error_at_s)
        return _line_that_matters(first.error or "", lines)
    if error := _first_exception(logged_errors(lines)):
        return _line_that_matters(error.text, lines)
    last = next((line for line in reversed(lines) if line.strip()), "the launcher printed nothing")
    return f"the launcher exited with status {status}: {last.strip()}"


def _first_exception(errors: Iterable[LoggedError]) -> LoggedError | None:
    return next((error for error in errors if not CONSEQUENCE.search(error.name)), None)


def _line_that_matters(error: str, lines: Sequence[str]) -> str:
    """NCCL puts its reason last, and before torch 1.13 into the log alone."""
    if found := _NCCL_LAST.search(error):
        return found[1]
    if "NCCL error" in error:
        warned = next((found[1] for line in lines if (found := _NCCL_WARNING.search(line))), None)
        named = _NCCL_CLASS.search(error)
        return warned or (named[1] if named else error.splitlines()[0])
    return next((line for line in error.splitlines() if line.strip()), "an error without a message")
