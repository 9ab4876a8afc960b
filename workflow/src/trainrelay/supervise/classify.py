"""Why a training ended (pure).

One crashed rank makes all others print communication errors, so the earliest failure that is not
communication decides; communication is the answer only where it came first.
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trainrelay.command import StepSeen
from trainrelay.records import CheckpointFacts, EndClass
from trainrelay.supervise.text import quoted
from trainrelay.supervise.tracebacks import DeadRank, Raised, dead_ranks, raised


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when the launcher has ended.

    `exit_status` as Popen gives it: negative for a signal. `lines` are the log's, from shortly before its
    last progress line on. `final_problem` says what is wrong with the last epoch's checkpoint.
    """

    exit_status: int
    epochs: int
    lines: Sequence[str] = ()
    stop_requested: bool = False
    last_step: StepSeen | None = None
    final_checkpoint: CheckpointFacts | None = None
    final_problem: str | None = None
    not_resumed: str | None = None


class End(NamedTuple):
    """How an attempt ended, and the sentence with the evidence."""

    kind: EndClass
    reason: str


def classify(evidence: Evidence) -> End:
    """The end of an attempt."""
    if evidence.not_resumed:
        return End("not-resumed", evidence.not_resumed)
    if evidence.exit_status == 0 and evidence.final_checkpoint:
        return _finished(evidence.final_checkpoint, evidence.epochs)
    if evidence.stop_requested:
        return End("interrupted", f"stopped on request {_where(evidence.last_step)}")
    if evidence.exit_status == 0:
        return _unfinished(evidence)
    return _failed(evidence)


def _finished(final: CheckpointFacts, epochs: int) -> End:
    if not final.finite:
        what = final.first_non_finite or "a weight"
        return End("diverged", f"{final.file.path}: {what} is not finite")
    return End("done", f"{epochs} of {epochs} epochs trained")


def _unfinished(evidence: Evidence) -> End:
    missing = evidence.final_problem or f"the checkpoint of epoch {evidence.epochs} is missing"
    return End("unfinished", f"the trainer exited 0 {_where(evidence.last_step)}, but {missing}")


def _where(step: StepSeen | None) -> str:
    return (
        f"after epoch {step.epoch}, iteration {step.iteration}" if step else "before its first progress line"
    )


# ---------------------------------------------------------------------- failures

_COMM = re.compile(
    r"NCCL|gloo/|Gloo |EADDRINUSE|DistNetworkError|DistStoreError|DistBackendError|TCPStore|ProcessGroup"
    r"|Rendezvous\w*Error|collective operation timeout|Duplicate GPU detected",
)
# Only where the traceback leads into torch.distributed: a download can lose its connection as well.
_COMM_IF_DISTRIBUTED = re.compile(
    r"connection (closed|refused|reset|timed out)|address already in use|broken pipe|socket timeout"
    r"|timed out|failed to listen",
    re.IGNORECASE,
)
_DISTRIBUTED = re.compile(r"torch/distributed/|torch/lib/c10d")

_CAUSES: tuple[tuple[EndClass, re.Pattern[str]], ...] = (
    (
        "oom-gpu",
        re.compile(r"(CUDA|HIP) out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"),
    ),
    (
        "oom-host",
        re.compile(
            r"^MemoryError|Cannot allocate memory|DefaultCPUAllocator: (can't|not enough)|std::bad_alloc"
            r"|insufficient shared memory|(shm|/torch_\w+).*No space left on device"
            r"|DataLoader worker .*killed by signal: (Killed|Bus error)"
        ),
    ),
    (
        "disk-full",
        # The last three are how torch.save reports a write that the disk did not take.
        re.compile(
            r"No space left on device|Disk quota exceeded|File too large|iostream error"
            r"|inline_container\.cc.*unexpected pos|PytorchStreamWriter failed writing"
        ),
    ),
    (
        "diverged",
        re.compile(
            r"FloatingPointError|\b(nan|inf) or (nan|inf)\b|\b(not|non-?) ?finite\b"
            r"|\b(loss|grad\w*|norm|weights?)\b.{0,40}\b(is|are|has|contains?|became)\b.{0,20}\b(nan|inf)\b",
            re.IGNORECASE,
        ),
    ),
    ("killed", re.compile(r"^KeyboardInterrupt|SignalException|killed by signal: Terminated")),
)
_WORKER_LOST = re.compile(r"^(ConnectionResetError|EOFError|BrokenPipeError|ConnectionRefusedError)")
_WORKER_FRAMES = re.compile(r"torch/utils/data/|torch/multiprocessing/")
_CONSEQUENCE = re.compile(r"ChildFailedError$|CalledProcessError$|SystemExit$")
_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2})
_SIGNALLED = re.compile(r"died with <Signals\.(SIG\w+): (\d+)>")  # torch.distributed.launch before torch 1.9


def _failed(evidence: Evidence) -> End:
    """The steps of the decision, in the order in which they are believed."""
    exceptions = [error for error in raised(evidence.lines) if not _CONSEQUENCE.search(error.name)]
    dead = dead_ranks(evidence.lines)
    first = exceptions[0] if exceptions else None
    if first and not is_comm(first):
        return _of_exception(first, evidence.last_step)
    if ended := next((rank for rank in dead if _ended_by_itself(rank, exceptions)), None):
        return _of_dead_rank(ended)
    if first:
        return End("comm", f"{first.rank}: {quoted(first.text)}")
    return _without_exception(evidence)


def is_comm(error: Raised) -> bool:
    """Whether an exception speaks of communication between ranks."""
    if _class_of(error.text) in ("oom-gpu", "oom-host", "disk-full"):
        return False
    if _COMM.search(error.text):
        return True
    return bool(_COMM_IF_DISTRIBUTED.search(error.text) and _DISTRIBUTED.search(error.frames))


def _of_exception(error: Raised, last_step: StepSeen | None) -> End:
    said = f"{error.rank}: {quoted(error.text)}"
    if _WORKER_LOST.match(error.text) and _WORKER_FRAMES.search(error.frames):
        return End("killed", f"a data worker vanished; {said}")
    if kind := _class_of(error.text):
        return End(kind, said)
    if _not_finite(last_step):
        return End("diverged", f"the loss was not finite {_where(last_step)}; {said}")
    return End("trainer-bug", said)


def _class_of(text: str) -> EndClass | None:
    return next((kind for kind, pattern in _CAUSES if pattern.search(text)), None)


def _not_finite(step: StepSeen | None) -> bool:
    return step is not None and step.loss is not None and not math.isfinite(step.loss)


def _ended_by_itself(rank: DeadRank, exceptions: Iterable[Raised]) -> bool:
    # Status 1 is what Python gives an exception, so it says nothing beyond the log; SIGABRT is how NCCL's
    # watchdog ends a rank.
    if rank.status == -signal.SIGABRT:
        return not any(is_comm(error) for error in exceptions)
    return rank.status not in (0, 1)


def _of_dead_rank(rank: DeadRank) -> End:
    if rank.status > 0:
        return End("trainer-bug", f"{rank.rank} exited with status {rank.status} without an exception")
    return _of_signal(rank.rank, -rank.status)


def _of_signal(who: str, number: int) -> End:
    name = _signal_name(number)
    if number == signal.SIGKILL:
        return End("killed", f"{who} was ended by SIGKILL (by a person, or by the kernel for lack of memory)")
    if number in _OUTSIDE:
        return End("killed", f"{who} was ended by {name}")
    return End("trainer-bug", f"{who} crashed with {name}")


def _signal_name(number: int) -> str:
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")


def _without_exception(evidence: Evidence) -> End:
    if found := _first(_SIGNALLED, evidence.lines):
        return _of_signal("a rank", int(found[2]))
    for line in evidence.lines:
        if kind := _class_of(line):
            return End(kind, quoted(line))
    if evidence.exit_status < 0 or evidence.exit_status > 128:  # a shell reports signals as 128 + number
        number = -evidence.exit_status if evidence.exit_status < 0 else evidence.exit_status - 128
        return _of_signal("the launcher", number)
    if _not_finite(evidence.last_step):
        return End("diverged", f"the loss was not finite {_where(evidence.last_step)}")
    last = next((line for line in reversed(evidence.lines) if line.strip()), "")
    said = f"; its last line: {quoted(last)}" if last else " and printed nothing"
    return End("trainer-bug", f"the launcher exited with status {evidence.exit_status}{said}")


def _first(pattern: re.Pattern[str], lines: Iterable[str]) -> re.Match[str] | None:
    return next((found for line in lines if (found := pattern.search(line))), None)
