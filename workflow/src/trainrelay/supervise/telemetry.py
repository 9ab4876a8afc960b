"""What the ranks count (trainrelay_hook/telemetry.py), as supervisor and watchers see it; telemetry.jsonl."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from trainrelay.errors import TrainrelayError
from trainrelay.records import AttemptRecord, HostName, Record
from trainrelay.supervise.hangs import StackFile
from trainrelay.supervise.hangs.dumps import memory_file
from trainrelay.supervise.hook import Hook
from trainrelay.system.files import append, content, last_bytes, write_bytes
from trainrelay.trainers import StepSeen
from trainrelay_hook import files

EVERY_S = 10.0
SILENT_AFTER_S = 60.0  # a shared file system may show another node's files this late
MOST_BYTES = 2_000_000  # some hours of 8 ranks; then every other line is left out
_FILE = "telemetry.jsonl"
_READ_BYTES = 256 * 1024  # a line of hundreds of ranks
_MOST_RANKS = 8  # that are named together

Count = Annotated[int, Field(ge=0, le=10**15)]
Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]


class RankTelemetry(Record):
    """attempts/NNN/hook/telemetry-R.json, by a rank."""

    format: Literal[1]
    rank: Count
    host: HostName  # on which it runs
    at_s: Seconds  # Unix time by the rank's clock
    steps: Count  # of optimizers
    batches: Count  # that it fetched
    waiting: bool  # for a batch
    passes: Count  # over the data that had steps
    iteration: Count  # batches of this pass that are done
    iterations: Count  # of a whole pass; 0: not known
    step_s: Seconds  # of a step, smoothed
    data_s: Seconds  # of that waiting for data
    memory_bytes: Count  # the most that it held


class Telemetry(Record):
    """A line of telemetry.jsonl: all ranks at one moment, Unix time by the supervisor's clock."""

    at_s: Seconds
    ranks: tuple[RankTelemetry, ...] = Field(min_length=1)

    @property
    def first(self) -> RankTelemetry:
        """The rank that is furthest."""
        return max(self.ranks, key=lambda one: one.steps)

    @property
    def step_s(self) -> float:
        """Of the slowest rank."""
        return max(one.step_s for one in self.ranks)

    def __str__(self) -> str:
        """`step 1203, 0.42 s per step, data 12 %`: of the slowest rank, and of the one that waits most."""
        shares = [one.data_s / one.step_s for one in self.ranks if one.step_s]
        more = f", {self.step_s:.3g} s per step, data {100 * max(shares):.0f} %" if shares else ""
        return f"step {self.first.steps}{more}"

    @property
    def iterations_per_s(self) -> float | None:
        """Of the rank that is furthest: batches of its whole passes over the data; of anything else steps."""
        one = self.first
        done = (one.passes - 1) * one.iterations + one.iteration
        per_step = done / one.steps if one.iterations and 0 < one.steps <= done <= one.batches else 1
        return per_step / one.step_s if one.step_s else None

    def progress(self, attempt: AttemptRecord) -> StepSeen | None:
        """What a progress line would say, if each pass over the data is an epoch and epochs are counted."""
        one, epoch = self.first, attempt.resumed_at + self.first.passes
        if (
            attempt.unit == "iteration"
            or not one.passes
            or epoch > attempt.asked
            or not 0 < one.iteration <= one.iterations
        ):
            return None
        return StepSeen(epoch, one.iteration, one.iterations, None, None)


def newest_telemetry(attempt: Path) -> Telemetry | None:
    """The last whole line of an attempt's telemetry.jsonl."""
    with suppress(ValidationError, IndexError):
        return Telemetry.model_validate_json(last_bytes(attempt / _FILE, _READ_BYTES).split(b"\n")[-2])
    return None


class TelemetryReader:
    """The ranks' reports over an attempt, kept in its folder; `guard` is called before each write."""

    def __init__(self, attempt: Path, hook: Hook, guard: Callable[[], object] = bool) -> None:
        self._file, self._hook, self._guard = attempt / _FILE, hook, guard
        self._ranks: dict[int, RankTelemetry] = {}
        self._heard_s: dict[int, float] = {}  # when each said something new
        self._next_s = float("-inf")
        self.newest: Telemetry | None = None

    def look(self, now_s: float) -> bool:
        """Reads them every 10 s; whether a step was done, or a batch fetched, since the last look."""
        if now_s < self._next_s:
            return False
        before, self._next_s = self._ranks, now_s + EVERY_S
        # A file may be out of sight for a moment, where a file system is shared.
        self._ranks = before | {one.rank: one for one in self._hook.each(files.TELEMETRY, RankTelemetry)}
        news = {rank: one for rank, one in self._ranks.items() if one != before.get(rank)}
        self._heard_s |= dict.fromkeys(news, now_s)
        if news:
            self.newest = Telemetry(at_s=time.time(), ranks=tuple(self._ranks.values()))
            with suppress(OSError, TrainrelayError):  # a full disk ends no training
                self._guard()
                if append(self._file, self.newest.model_dump_json().encode()) > MOST_BYTES:
                    write_bytes(self._file, b"".join(content(self._file).splitlines(keepends=True)[1::2]))
        return any(_done(one) > _done(before[rank]) for rank, one in news.items() if rank in before)

    def standing(self, now_s: float, stacks: Sequence[StackFile]) -> str | None:
        """Where the ranks are, exactly where they run here; the clock is that of `look`."""
        self._next_s = now_s
        self.look(now_s)
        here = {one.process.rank: _counts(one.process.pid) for one in stacks if one.process.is_rank}
        exact = {rank: one.model_copy(update=here.get(rank)) for rank, one in self._ranks.items()}
        silent = {rank for rank, heard_s in self._heard_s.items() if now_s - heard_s > SILENT_AFTER_S}
        return standing(exact, silent, self._hook.ranks)


def standing(known: dict[int, RankTelemetry], silent: set[int], expected: Sequence[int]) -> str | None:
    """Where the ranks are in one sentence, first the fewest and last (pure); None if no rank reported."""
    groups: dict[tuple[int, str], list[int]] = {}
    for rank in expected:
        groups.setdefault(_place(known.get(rank), rank in silent), []).append(rank)
    *fewer, ((_, most), others) = sorted(
        groups.items(), key=lambda group: (len(group[1]), group[0][0], -len(group[0][1]))
    )
    if not known or not fewer:
        return f"all ranks are at {most}" if known else None
    said = [
        f"{_names(ranks, known)} {'are' if ranks[1:] else 'is'} at {place}" for (_, place), ranks in fewer
    ]
    return ", ".join([*said, f"{'the others' if others[1:] else _names(others, known)} at {most}"])


def _place(one: RankTelemetry | None, silent: bool) -> tuple[int, str]:
    if one is None:
        return -1, "no step (it reported nothing)"
    more = ["waiting for a batch"] * one.waiting + ["silent"] * silent
    return one.steps, f"step {one.steps}" + (f" ({', '.join(more)})" if more else "")


def _names(ranks: Sequence[int], known: dict[int, RankTelemetry]) -> str:
    hosts = {known[rank].host if rank in known else "" for rank in ranks}
    where = f" on {host}" if len(hosts) == 1 and (host := hosts.pop()) else ""
    more = f" and {len(ranks) - _MOST_RANKS} more" if ranks[_MOST_RANKS:] else ""
    return f"rank{'s' if ranks[1:] else ''} {', '.join(map(str, ranks[:_MOST_RANKS]))}{more}{where}"


def _done(one: RankTelemetry) -> int:
    return one.steps + one.batches


def _counts(pid: int) -> dict[str, int]:
    """What a process of this host has counted, also while it is stopped."""
    with suppress(OSError, struct.error, ValueError, OverflowError):
        if memory := memory_file(pid, files.COUNTS_NAME):
            with memory.open("rb") as file:
                numbers = struct.unpack(f"{len(files.COUNTS)}d", file.read(8 * len(files.COUNTS)))
            return dict(zip(files.COUNTS, map(int, numbers), strict=True))
    return {}
