"""What the ranks of a probe left behind, read and judged (pure)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV
from typing import Literal, NamedTuple

from pydantic import Field, FiniteFloat, ValidationError

from trainrelay.progress_lines.tracebacks import CONSEQUENCE, dead_ranks, logged_errors, signal_name
from trainrelay.records import ProbeResult, Record
from trainrelay.text import quoted

MARK = "trainrelay: "  # before what a rank prints
NOT_STARTED = "not started"
_DONE = "done"
_NCCL_LAST = re.compile(r"Last error:\s*\n?\s*(\S.*)")
_NCCL_WARNING = re.compile(r"NCCL WARN\s+(\S.*)")
_NCCL_CLASS = re.compile(r"^\s*(nccl\w+: .*)", re.MULTILINE)


class RankProgress(Record):
    """What a rank printed last. `gb_per_s` by size in MB."""

    rank: int = Field(ge=0)
    phase: str
    error: str | None = None
    at_s: float = math.inf
    gb_per_s: dict[int, FiniteFloat] = Field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it received every value as it was sent."""
        return self.phase == _DONE and self.error is None


def rank_progress(log: Iterable[str], ranks: int) -> list[RankProgress]:
    """How far each rank came, by what it printed among all else; half a line counts for nothing."""
    seen = [RankProgress(rank=rank, phase=NOT_STARTED) for rank in range(ranks)]
    for line in log:
        with suppress(ValidationError, IndexError):
            said = RankProgress.model_validate_json(line.partition(MARK)[2])
            if not seen[said.rank].done:
                seen[said.rank] = said
    return seen


def is_over(ranks: Sequence[RankProgress]) -> bool:
    """Whether nothing more can change the outcome: every rank is done, or one failed."""
    return all(rank.done for rank in ranks) or any(rank.error for rank in ranks)


class ProbeVerdict(NamedTuple):
    """What became of a rung, and why."""

    outcome: Literal["works", "fails", "hangs"]
    error: str | None
    gb_per_s: dict[int, float]


def judge(
    ranks: Sequence[RankProgress], lines: Sequence[str], status: int | None, took_s: float
) -> ProbeVerdict:
    """`status` is the launcher's, None if it had to be ended; `lines` are the log's."""
    if all(rank.done for rank in ranks):
        return ProbeVerdict("works", None, _slowest(ranks))
    if status is not None or any(rank.error for rank in ranks):
        return ProbeVerdict("fails", quoted(_failure(ranks, lines, status)), {})
    return ProbeVerdict("hangs", quoted(f"no end after {took_s:.0f} s: {where(ranks)}"), {})


def _slowest(ranks: Sequence[RankProgress]) -> dict[int, float]:
    """A collective is as fast as its slowest rank."""
    sizes = set.intersection(*(set(rank.gb_per_s) for rank in ranks))
    return {size: min(rank.gb_per_s[size] for rank in ranks) for size in sorted(sizes)}


def where(ranks: Sequence[RankProgress]) -> str:
    """Where each rank is: `ranks 0-2 in all_reduce 25 MB, rank 3 not started`."""
    phases: dict[str, list[int]] = {}
    for rank in ranks:
        phases.setdefault(rank.phase, []).append(rank.rank)
    return ", ".join(
        f"{_named(numbers)} {'' if phase in (_DONE, NOT_STARTED) else 'in '}{quoted(phase)}"
        for phase, numbers in phases.items()
    )


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


_CRASHES = {SIGSEGV, SIGBUS, SIGFPE, SIGILL}


def _failure(ranks: Sequence[RankProgress], lines: Sequence[str], status: int | None) -> str:
    """What came first: what follows it is ranks that lost the one that failed."""
    ended = [dead for dead in dead_ranks(lines) if dead.status < 0]
    # A rank that lost one that crashed may abort, and be seen to end before it.
    dead = min(ended, key=lambda one: -one.status not in _CRASHES, default=None)
    failed = [rank for rank in ranks if rank.error]
    # By SIGABRT NCCL ends a rank that has said why.
    if dead and not (failed and dead.status == -SIGABRT):
        return f"{dead.rank} ended by {signal_name(-dead.status)}: {where(ranks)}"
    if failed:
        first = min(failed, key=lambda rank: rank.at_s)
        return _line_that_matters(first.error or "", lines)
    errors = (error for error in logged_errors(lines) if not CONSEQUENCE.search(error.name))
    if error := next(errors, None):
        return _line_that_matters(error.text, lines)
    last = next((line for line in reversed(lines) if line.strip()), "the launcher printed nothing")
    return f"the launcher exited with status {status}: {last.strip()}"


def _line_that_matters(error: str, lines: Sequence[str]) -> str:
    """NCCL puts its reason last, and before torch 1.13 into the log alone."""
    if found := _NCCL_LAST.search(error):
        return found[1]
    if "NCCL error" in error:
        warned = next((found[1] for line in lines if (found := _NCCL_WARNING.search(line))), None)
        named = _NCCL_CLASS.search(error)
        return warned or (named[1] if named else error.splitlines()[0])
    return next((line for line in error.splitlines() if line.strip()), "an error without a message")


def result_text(result: ProbeResult) -> str:
    """A result in words: `nccl works here, all_reduce at 21.5 GB/s (256 MB)`."""
    if result.error is not None:
        return f"{result.rung} {result.outcome} here: {result.error}"
    speeds = (f"{speed:.3g} GB/s ({size} MB)" for size, speed in sorted(result.gb_per_s.items()))
    return f"{result.rung} {result.outcome} here, all_reduce at {', '.join(speeds)}"
