"""What follows the end of an attempt (pure): again, a rung down, a person, or nothing.

One layer per cause. What another attempt can cure is tried again here, in the same allocation, until too many
attempts in a row brought no new checkpoint. A rung of the ladder is left when its probe fails, or at the
second end of one kind on it that may be its fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import assert_never

from trainrelay.records import EndClass


@dataclass(frozen=True, slots=True)
class Past:
    """One ended attempt of this launch."""

    end: EndClass
    rung: str
    steps: bool  # a training step was seen
    new_checkpoint: bool  # it left a checkpoint of a later epoch than was there before
    port_fixed: bool  # the config names the port


@dataclass(frozen=True, slots=True)
class Done:
    """The training is complete."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody asked us to stop; a relaunch goes on."""


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt on `rung`; with `probe_first`, what `after_probe` says comes before it."""

    rung: str
    probe_first: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Final:
    """A person decides: what happened, and where to look and what to type."""

    reason: str
    what_to_type: str


Step = Done | Stop | Again | Final


def next_step(past: Sequence[Past], ladder: Sequence[str], most_without_checkpoint: int) -> Step:
    """What follows the last of `past`, the attempts of this launch in order; at least one.

    `ladder` is best first and holds every rung of `past`.
    """
    step, barren = _by_end(past, ladder), len(_barren(past))
    if isinstance(step, Again) and barren >= most_without_checkpoint:
        return _no_progress(past[-1].end, barren)
    return step


def in_vain(past: Sequence[Past], most_without_checkpoint: int) -> Final | None:
    """Why no job that Slurm starts anew is to try once more; None where one may. `past` may be empty."""
    barren = len(_barren(past))
    return _no_progress(past[-1].end, barren) if barren >= most_without_checkpoint else None


def after_probe(step: Again, works: bool, ladder: Sequence[str]) -> Again | Final:
    """What follows once the rung of `step` was probed: the attempt, or the rung below, to be probed too."""
    if works:
        return replace(step, probe_first=False, reason=f"{step.reason}; the probe of {step.rung} works")
    return _below(step.rung, ladder, f"{step.reason}; the probe of {step.rung} fails")


def _by_end(past: Sequence[Past], ladder: Sequence[str]) -> Step:  # noqa: PLR0911 (the rows of a table)
    last = past[-1]
    end: EndClass = last.end
    match end:
        case "done":
            return Done()
        case "interrupted" | "time-limit" | "preempted":
            return Stop()
        case "diverged" | "oom-gpu" | "disk-full" | "not-resumed":
            return _FINAL[end]
        case "oom-host":
            return _host_memory(past)
        case "port":
            return _PORT_FIXED if last.port_fixed else _again(last, "another port is taken")
        case "comm" | "hang":
            return _doubt(past, ladder)
        case "trainer-bug":
            mistake = not (last.steps or last.new_checkpoint)
            return _MISTAKE if mistake else _again(last, "the trainer failed after it had trained")
        case "killed" | "unfinished" | "lost":
            return _again(last, "nothing speaks against another attempt")
    assert_never(end)


def _again(last: Past, why: str, *, probe_first: bool = False) -> Again:
    return Again(last.rung, probe_first, f"{last.end}: {why}")


def _barren(past: Sequence[Past]) -> list[Past]:
    """The attempts since the one that brought the newest checkpoint."""
    return list(takewhile(lambda attempt: not attempt.new_checkpoint, reversed(past)))


def _host_memory(past: Sequence[Past]) -> Step:
    if sum(attempt.end == "oom-host" for attempt in _barren(past)) > 1:
        return _HOST_MEMORY
    return _again(past[-1], "memory may have been short for once")


def _doubt(past: Sequence[Past], ladder: Sequence[str]) -> Step:
    """Communication failed, or stood still: is it the rung? On the last one only barren attempts count."""
    last = past[-1]
    is_last = last.rung == ladder[-1]
    counted = _barren(past) if is_last else past
    if sum((attempt.end, attempt.rung) == (last.end, last.rung) for attempt in counted) > 1:
        return _below(last.rung, ladder, f"{last.end} for the second time on {last.rung}")
    return _again(last, f"{last.rung} is in doubt", probe_first=True)


def _below(rung: str, ladder: Sequence[str], why: str) -> Again | Final:
    lower = ladder[ladder.index(rung) + 1 :]
    if not lower:
        return Final(f"{why}, and the ladder has no rung below", _RANKS_CANNOT_TALK)
    return Again(lower[0], probe_first=True, reason=why)


# ---------------------------------------------------------------------- what a person reads

_RANKS_CANNOT_TALK = (
    "look in the log for the first communication error and at the probe's word on each backend, mend the"
    " network or add a backend to the stage's `backends` in the config, then type the same again"
)
_MISTAKE = Final(
    "the trainer failed before its first training step, as another attempt would",
    "look at the exception in the log, mend the trainer or its config, then type the same again",
)
_PORT_FIXED = Final(
    "the port that the config names is taken",
    "look with `ss -ltnp` at who holds it and end that, or set `master_port: null` for a free port each time,"
    " then type the same again",
)
_HOST_MEMORY = Final(
    "the host's memory ran out twice without a new checkpoint in between",
    "look in the log at which process it was, ask for more (`mem_gb` of the stage's resources) or set fewer"
    " data workers, then type the same again",
)
_FINAL: dict[EndClass, Final] = {
    "diverged": Final(
        "the training left the finite numbers, as another attempt would",
        "look in the report for the first step that is not finite; lower the learning rate in the trainer"
        " config and type the same again (the change trains anew and keeps the old training)",
    ),
    "oom-gpu": Final(
        "the training does not fit the GPU's memory",
        "look in the log at what it asked for, make model or batch smaller (UniAD: queue_length, DETR:"
        " batch_size), then type the same again",
    ),
    "disk-full": Final(
        "the disk takes nothing more: it is full, over its quota or read-only",
        "look in the log at which file it was, free space there or make it writable, then type the same"
        " again; what is trained is kept",
    ),
    "not-resumed": Final(
        "the trainer was asked to resume and did not",
        "look in the log at why it ignored the checkpoint, mend that, then type the same again; nothing was"
        " overwritten by us",
    ),
}


def _no_progress(end: EndClass, barren: int) -> Final:
    attempts = "an attempt" if barren == 1 else f"{barren} attempts in a row"
    return Final(
        f"{attempts} brought no new checkpoint, the last one ended: {end}",
        _LONGER.get(end, "look at the ends of their logs, mend the cause, then type the same again"),
    )


_LONGER: dict[EndClass, str] = {
    "time-limit": "set runtime_min of the stage's resources so that each job brings a checkpoint, or save"
    " checkpoints more often, then type the same again",
    "preempted": "ask for a partition or qos whose jobs are not preempted, or save checkpoints more often,"
    " then type the same again",
}
