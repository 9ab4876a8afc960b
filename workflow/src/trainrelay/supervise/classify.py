"""Why a training ended (pure).

One crashed rank makes all others print communication errors, so the earliest failure that is not
communication decides; communication is the answer only where it came first.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trainrelay.progress_lines.causes import class_of, is_comm, is_port, stops_at_nan
from trainrelay.progress_lines.not_finite import not_finite
from trainrelay.progress_lines.tracebacks import (
    CONSEQUENCE,
    UNNAMED,
    DeadRank,
    LoggedError,
    dead_ranks,
    ended_or_closed,
    logged_errors,
    signal_name,
)
from trainrelay.records import CheckpointFacts, EndClass, Unit
from trainrelay.supervise.slurm_run import SlurmStop
from trainrelay.text import quoted
from trainrelay.trainers import StepSeen


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when the launcher has ended.

    `exit_status` as Popen gives it: negative for a signal. `lines` are the log's, from shortly before its
    last progress line on. `final_checkpoint` is that of a finished training, `final_problem` says why there
    is none. The last four are sentences: an ignored resume, one that its log does not prove, a loss that
    stays NaN, a watchdog.
    """

    exit_status: int
    asked: int  # of the `unit`
    lines: Sequence[str] = ()
    local_ranks: int | None = None  # that the launcher of this log started
    stop_requested: bool = False
    stopped_by_slurm: SlurmStop | None = None  # where it was Slurm that asked
    last_step: StepSeen | None = None
    final_checkpoint: CheckpointFacts | None = None
    final_problem: str | None = None
    not_resumed: str | None = None
    unproved: str | None = None
    diverged: str | None = None
    hang: str | None = None
    unit: Unit = "epoch"


class End(NamedTuple):
    """How an attempt ended, and the sentence with the evidence."""

    kind: EndClass
    reason: str


def classify(evidence: Evidence) -> End:
    """The end of an attempt; how the trainer of a finished training ended is a warning."""
    told, final = _ended_by_us(evidence), evidence.final_checkpoint
    if final is None or (told and told.kind in ("not-resumed", "diverged")):
        return told or _from_log(evidence)
    ended_well = told is None and evidence.exit_status == 0 and not evidence.stop_requested
    warning = evidence.unproved if ended_well else (told or _from_log(evidence)).reason
    return finished_end(final, evidence.asked, warning, evidence.unit)


def _ended_by_us(evidence: Evidence) -> End | None:
    """Why the supervisor ended the attempt; nothing that its log shows then counts."""
    told: tuple[tuple[EndClass, str | None], ...] = (
        ("not-resumed", evidence.not_resumed),
        ("diverged", evidence.diverged),
        ("hang", evidence.hang),
    )
    return next((End(kind, said) for kind, said in told if said), None)


def _from_log(evidence: Evidence) -> End:
    if evidence.stop_requested:
        return _stopped(evidence)
    return _unfinished(evidence) if evidence.exit_status == 0 else _failed(evidence)


def _stopped(evidence: Evidence) -> End:
    where, why = _where(evidence.last_step), evidence.stopped_by_slurm
    if why is None:
        return End("interrupted", f"stopped on request {where}")
    return End(why.end, f"stopped {where}: {why.text}")


def finished_end(final: CheckpointFacts, asked: int, warning: str | None, unit: Unit) -> End:
    """The end of a finished training; `warning` says how its trainer ended, if not well."""
    if not final.finite:
        what = final.first_non_finite or "a weight"
        return End("diverged", f"{final.file.path}: {what} is not finite")
    trained = f"{final.done(unit) or asked} of {asked} {unit}s trained"
    return End("done", f"{trained}; warning: {warning}" if warning else trained)


def _unfinished(evidence: Evidence) -> End:
    missing = evidence.final_problem or f"the checkpoint of {evidence.unit} {evidence.asked} is missing"
    return End("unfinished", f"the trainer exited 0 {_where(evidence.last_step)}, and {missing}")


def _where(step: StepSeen | None) -> str:
    if step is None:
        return "before its first progress line"
    return f"{'' if step.by_iteration else f'in epoch {step.epoch}, '}after iteration {step.iteration}"


# ---------------------------------------------------------------------- failures

_WORKER_LOST = re.compile(r"^(ConnectionResetError|EOFError|BrokenPipeError|ConnectionRefusedError)")
_WORKER_FRAMES = re.compile(r"torch/utils/data/|torch/multiprocessing/")
_WEIGHTS_ONLY = (
    "torch 2.6 and later load only weights by default: if the file is the trainer's own, set"
    " `env: {TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD: '1'}` for the trainer in the config"
)
_REFUSED_ARGUMENTS = re.compile(r"\S: error: \S")
_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2})


def _failed(evidence: Evidence) -> End:
    """The steps of the decision, in the order in which they are believed."""
    if said := next(filter(stops_at_nan, evidence.lines), None):
        return End("diverged", quoted(said))
    if said := next((line for line in evidence.lines if class_of(line) == "node"), None):
        return End("node", quoted(said))
    exceptions = [error for error in logged_errors(evidence.lines) if not CONSEQUENCE.search(error.name)]
    dead, own = dead_ranks(evidence.lines), _own_failure(exceptions)
    if own and own is exceptions[0]:
        return _of_exception(own, evidence.last_step)
    if ended := next((rank for rank in dead if _ended_by_itself(rank, exceptions)), None):
        return _of_dead_rank(ended, evidence.lines)
    if own:
        return _of_exception(own, evidence.last_step)
    return _of_comm(evidence, exceptions) if exceptions else _without_exception(evidence)


def _own_failure(exceptions: Iterable[LoggedError]) -> LoggedError | None:
    """The earliest exception that communication did not bring about.

    Not always the earliest of all: a rank that fails may let go of the others before it says why.
    """
    cut_off: set[str] = set()
    for error in exceptions:
        if is_comm(error):
            cut_off.add(error.rank)
        elif not _follows(error, cut_off):
            return error
    return None


def _follows(error: LoggedError, cut_off: set[str]) -> bool:
    """Whether an exception may come of the communication that broke before it."""
    same_rank = error.rank != UNNAMED and error.rank in cut_off
    return same_rank or bool(cut_off and _WORKER_LOST.match(error.text))


def _of_comm(evidence: Evidence, exceptions: Sequence[LoggedError]) -> End:
    """No rank failed before communication did; but the others may have left, or never have met."""
    first = exceptions[0]
    if left := _left_early(evidence):
        said = (
            f"{left} of {evidence.local_ranks} ranks exited 0 {_where(evidence.last_step)}, the others then"
        )
        return End("unfinished", f"{said} failed: {quoted(first.text)}")
    taken = next(filter(is_port, exceptions), None)
    if taken and evidence.last_step is None:
        return End("port", _said(taken))
    return End("comm", _said(first))


def _left_early(evidence: Evidence) -> int:
    # A launcher names every rank that failed or that it closed then; who is missing had exited 0 before.
    seen = ended_or_closed(evidence.lines)
    return max(0, evidence.local_ranks - len(seen)) if evidence.local_ranks and seen else 0


def _of_exception(error: LoggedError, last_step: StepSeen | None) -> End:
    said = _said(error) + (f" ({quoted(error.place)})" if error.place else "")
    if _WORKER_LOST.match(error.text) and _WORKER_FRAMES.search(error.frames):
        return End("killed", f"a data worker vanished; {said}")
    if kind := class_of(error.text):
        return End(kind, said)
    if what := _not_finite(last_step):
        return End("diverged", f"{what}; {said}")
    return End(
        "trainer-bug", f"{said}; {_WEIGHTS_ONLY}" if "Weights only load failed" in error.text else said
    )


def _said(error: LoggedError) -> str:
    return ": ".join(filter(None, [error.rank, quoted(error.text)]))


def _not_finite(step: StepSeen | None) -> str | None:
    what = not_finite(step.loss, step.grad_norm) if step else None
    return f"{what} {_where(step)}" if what else None


def _ended_by_itself(rank: DeadRank, exceptions: Iterable[LoggedError]) -> bool:
    # Status 1 is what Python gives an exception, so it says nothing beyond the log; SIGABRT is how NCCL's
    # watchdog ends a rank: one that said so, or that may have where the log does not name ranks.
    if rank.status == -signal.SIGABRT:
        return not any(is_comm(error) and error.rank in (rank.rank, UNNAMED) for error in exceptions)
    return rank.status not in (0, 1)


def _of_dead_rank(rank: DeadRank, lines: Iterable[str]) -> End:
    if rank.status > 0:
        # As argparse ends a script whose arguments it refuses.
        refused = next(filter(_REFUSED_ARGUMENTS.search, lines), None) if rank.status == 2 else None
        why = f": {quoted(refused)}" if refused else " without an exception"
        return End("trainer-bug", f"{rank.rank} exited with status {rank.status}{why}")
    return _of_signal(rank.rank, -rank.status)


def _of_signal(who: str, number: int) -> End:
    name = signal_name(number)
    if number == signal.SIGKILL:
        return End("killed", f"{who} was ended by SIGKILL (by a user, or by the kernel for lack of memory)")
    if number in _OUTSIDE:
        return End("killed", f"{who} was ended by {name}")
    return End("trainer-bug", f"{who} crashed with {name}")


def _without_exception(evidence: Evidence) -> End:
    for line in evidence.lines:
        if kind := class_of(line):
            return End(kind, quoted(line))
    if evidence.exit_status < 0 or evidence.exit_status > 128:  # a shell reports signals as 128 + number
        number = -evidence.exit_status if evidence.exit_status < 0 else evidence.exit_status - 128
        return _of_signal("its command", number)
    if what := _not_finite(evidence.last_step):
        return End("diverged", what)
    last = next((line for line in reversed(evidence.lines) if line.strip()), "")
    said = f"; its last line: {quoted(last)}" if last else " and printed nothing"
    return End("trainer-bug", f"its command exited with status {evidence.exit_status}{said}")
