"""A job's status: what its result file says, and from all that was seen of it to a verdict."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

SETTLE_S = 8.0
"""How long an end without a result file must last: the file may be late, and a requeue may follow."""
GONE_S = 600.0
"""How long Slurm, while it answers, may know nothing of a job or not say how it ended."""
LEAST_ANSWERS = 3

_ENDED_WELL = {"COMPLETED"}
_ENDED_BADLY = {"FAILED", "OUT_OF_MEMORY", "DEADLINE"}
_CANCELLED = {"CANCELLED"}
# Ended through no fault of the command: it will be resubmitted.
_INTERRUPTED = {"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL"}
ENDED = _ENDED_WELL | _ENDED_BADLY | _CANCELLED | _INTERRUPTED
# Its processes are on their nodes.
RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}

# Of an array's tasks, the state that counts for all: the last that there is. Others have not ended.
_WEIGHTS = (_ENDED_WELL, _INTERRUPTED, _ENDED_BADLY, _CANCELLED)

ResultEnd = Literal["done", "failed", "cancelled", "interrupted"]
Kind = Literal["running", "success", "failed", "interrupted"]


@dataclass(frozen=True)
class Result:
    """`cancelled`: stopped because its controller asked; `interrupted`: stopped, to be run again."""

    end: ResultEnd
    reason: str


@dataclass(frozen=True)
class Sighting:
    """One look at a job. `queue`: its state; empty: squeue does not list it; None: no answer this time.

    `now_s` on a clock that never jumps. `cancel_asked`: by an earlier controller; this one does not look any
    more once it cancels.
    """

    now_s: float
    result: Result | None = None
    queue: str | None = None
    accounting: str = ""  # the state that sacct knows
    ran: bool = False  # squeue lists it with nodes
    cancel_asked: bool = False


@dataclass(frozen=True)
class Memory:
    """What earlier looks found: the end or the absence that Slurm reports, since when, how many times."""

    state: str = ""
    since_s: float = 0.0
    answers: int = 0


@dataclass(frozen=True)
class JobVerdict:
    """`interrupted`: run it again. The reason is for the user."""

    kind: Kind
    reason: str


_RUNNING = JobVerdict("running", "")
_STOPPED_BEFORE = JobVerdict("interrupted", "it was stopped by an earlier controller")


def weight(state: str, ran: bool) -> float:
    """The state of an array is that of its heaviest task; `ran`: this one has been on a node."""
    if state in _CANCELLED and not ran:
        return 0.5  # where a leg that ended the job has cancelled the rest, it left a result, or failed
    known = next((number for number, states in enumerate(_WEIGHTS) if state in states), len(_WEIGHTS))
    return known + (state in RUNNING)


def judge(memory: Memory, seen: Sighting) -> tuple[Memory, JobVerdict]:
    """The job's own word counts first; then squeue; then, for what squeue forgot, sacct (pure)."""
    if seen.result is not None:
        return memory, _by_result(seen.result)
    if seen.queue is None:
        return memory, _RUNNING
    if seen.queue and seen.queue not in ENDED:
        # Also a state that we have never heard of: squeue lists the job, so it has not ended.
        return Memory(), _RUNNING
    # A requeued job that waits shows its former run's end in sacct; but squeue, which was asked first,
    # would list that job.
    state = seen.queue or (seen.accounting if seen.accounting in ENDED else "")
    if memory.answers and memory.state == state:
        memory = replace(memory, answers=memory.answers + 1)
    else:
        memory = Memory(state, seen.now_s, 1)
    if state in _CANCELLED and seen.cancel_asked:
        return memory, _STOPPED_BEFORE
    return memory, _by_state(memory, seen)


def _by_result(result: Result) -> JobVerdict:
    if result.end == "cancelled":
        return _STOPPED_BEFORE
    return JobVerdict("success" if result.end == "done" else result.end, result.reason)


def _by_state(memory: Memory, seen: Sighting) -> JobVerdict:
    state, lasted_s = memory.state, seen.now_s - memory.since_s
    least_s = 0.0 if state in _CANCELLED and seen.ran else SETTLE_S if state else GONE_S
    if lasted_s < least_s or (not state and memory.answers < LEAST_ANSWERS):
        return _RUNNING
    if not state:
        said = f"Slurm has not known it for {lasted_s:.0f} s and it left no result: how it ended is unknown"
        return JobVerdict("failed", said)
    if state in _INTERRUPTED:
        return JobVerdict("interrupted", f"Slurm ended it: {state}")
    if state in _CANCELLED:
        # sacct calls so, too, what slurmctld had lost when it was restarted.
        unknown = f"Slurm no longer knows the job, and it left no result (sacct: {state})"
        return JobVerdict("failed", "it was cancelled from outside (scancel)" if seen.queue else unknown)
    if state in _ENDED_WELL:
        return JobVerdict("failed", "Slurm calls it COMPLETED, but it left no result")
    return JobVerdict("failed", f"Slurm calls it {state}, and it left no result: its log says more")


def read_result(folder: Path, job_id: str) -> Result | None:
    """What submitit wrote when the job's callable had returned, in whichever leg; None: not yet."""
    if (path := _result_file(folder, job_id)) is None:
        return None
    try:
        with path.open("rb") as file:
            outcome, value = _PlainUnpickler(file).load()
            return _result(str(outcome), value)
    except FileNotFoundError:
        return None
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        return Result("failed", f"its result file {path} cannot be read: {error}")


def _result_file(folder: Path, job_id: str) -> Path | None:
    # Listing the folder makes a network file system look again; a lookup by name may remember "no such file".
    try:
        return next(folder.glob(f"{job_id}_*result.pkl"), None)
    except OSError:
        return None


def _result(outcome: str, value: Any) -> Result:
    if outcome != "success":
        lines = str(value).strip().splitlines() or ["no reason given"]
        return Result("failed", f"the job itself broke: {lines[-1]}")
    if value["end"] not in get_args(ResultEnd):
        raise ValueError(f"no such end: {value['end']}")
    return Result(value["end"], str(value["reason"]))


class _PlainUnpickler(pickle.Unpickler):
    """Loads builtin containers, numbers and texts; nothing that would run code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} does not belong there")
