"""What follows the end of an attempt (pure): another one, a rung down, your decision, or nothing.

One layer per cause; `ends` is the table. What another attempt can cure is retried here, in the same
allocation, until too many attempts in a row saved no new checkpoint. Nothing starts from scratch after a
trainer exited 0, nor beside files that look like checkpoints and are not understood. A rung of the ladder is
left when its probe fails, or at the second end of one kind on it that may be its fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import assert_never

from trainrelay.records import ENDS, STOPPED, AttemptRecord, Decision, EndClass
from trainrelay.text import printable


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is in a work dir that holds nothing to resume from."""

    unrecognised: bool  # files among it look like checkpoints, and a start from scratch could overwrite them
    text: str
    files: tuple[Path, ...] = ()  # those that look like checkpoints, or hold weights alone
    remedy: str | None = None  # what makes them understood, where that is known


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """One ended attempt of this launch."""

    end: EndClass
    rung: str
    steps: bool  # a training step was seen
    new_checkpoint: bool  # it left a checkpoint of a later epoch than was there before
    port_fixed: bool  # the config names the port
    brought: int = 0  # by which its newest checkpoint is later than the one before
    left: Leftovers | None = None  # None: there is a checkpoint to resume from, and nothing puzzling
    resumed_from: str | None = None  # a checkpoint's path


def past_attempts(
    attempts: Iterable[AttemptRecord], launch: str | None, reached: tuple[int, int], ladder: Sequence[str]
) -> list[PastAttempt]:
    """The newest attempts that share the name of the launch, in order; none where it has no name.

    `reached`: finished epochs and iterations of the next one that the newest checkpoint holds at this moment.
    """
    known = list(takewhile(lambda attempt: launch and attempt.launch == launch, reversed(list(attempts))))
    begun = [one.began if one.unit == "epoch" else (one.began[1], 0) for one in reversed(known)]
    brought = [after > before for before, after in pairwise([*begun, reached])]
    return [past_attempt(*one, ladder) for one in zip(reversed(known), brought, strict=True)]


def past_attempt(attempt: AttemptRecord, new_checkpoint: bool, ladder: Sequence[str]) -> PastAttempt:
    """An attempt as its record shows it."""
    return PastAttempt(
        end=attempt.end or "lost",
        rung=attempt.backend if attempt.backend in ladder else ladder[0],
        # A start that failed at a step checkpoint is another one without it.
        steps=attempt.last_epoch is not None or attempt.not_resumed is not None,
        new_checkpoint=new_checkpoint,
        port_fixed=False,
        resumed_from=printable(attempt.resumed_from.path) if attempt.resumed_from else None,
    )


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt on `rung`; with `probe_first`, what `after_probe` says comes before it."""

    rung: str
    probe_first: bool
    reason: str


FINISH = Decision(step="done")  # the training is complete
STOP_RESUMABLY = Decision(step="stop")  # a stop was requested; a relaunch resumes
Step = Decision | Retry


def needs_decision(reason: str, what_to_do: str) -> Decision:
    """You decide: what happened, where to look and what to run."""
    return Decision(step="final", reason=reason, what_to_do=what_to_do)


def next_step(past: Sequence[PastAttempt], ladder: Sequence[str], most_without_checkpoint: int) -> Step:
    """What follows the last of `past`, the attempts of this launch in order; at least one.

    `ladder` is best first and holds every rung of `past`.
    """
    step, left = _by_end(past, ladder), past[-1].left
    if not isinstance(step, Retry):
        return step
    if left is not None and (past[-1].end == "unfinished" or left.unrecognised):
        return nothing_to_resume_from(left, after_exit_0=past[-1].end == "unfinished")
    return out_of_attempts(past, most_without_checkpoint) or step


def out_of_attempts(past: Sequence[PastAttempt], most_without_checkpoint: int) -> Decision | None:
    """Why neither this job nor one that Slurm requeues may retry; None if one may. `past` may be empty."""
    in_a_row = len(_without_checkpoint(past))
    if in_a_row < most_without_checkpoint:
        return None
    attempts, end = "an attempt" if in_a_row == 1 else f"{in_a_row} attempts in a row", past[-1].end
    return needs_decision(
        f"{attempts} saved no new checkpoint, the last one ended: {end}",
        (end in STOPPED and ENDS[end].what_to_do)
        or "check the ends of their logs, in the stage's attempts/, and fix the cause",
    )


def after_probe(step: Retry, works: bool, ladder: Sequence[str]) -> Decision | Retry:
    """What follows once the rung of `step` was probed: the attempt, or the rung below, to be probed too."""
    if works:
        return replace(step, probe_first=False, reason=f"{step.reason}; the probe of {step.rung} works")
    return _rung_below(step.rung, ladder, f"{step.reason}; the probe of {step.rung} fails")


def _by_end(past: Sequence[PastAttempt], ladder: Sequence[str]) -> Step:  # noqa: PLR0911 (the rows of a table)
    last = past[-1]
    match ENDS[last.end].follows:
        case "done":
            return FINISH
        case "stop":
            return STOP_RESUMABLY
        case "final":
            return _final(last.end)
        case "memory":
            return _host_memory(past)
        case "port":
            return _final("port") if last.port_fixed else _again(last, "another port is taken")
        case "doubt":
            return _rung_in_doubt(past, ladder)
        case "bug":
            startup = not (last.steps or last.new_checkpoint)
            return (
                _startup_error(last) if startup else _again(last, "the trainer failed after it had trained")
            )
        case "retry" if _ends_itself(past):
            return _ENDS_ITSELF
        case "retry":
            return Retry(last.rung, False, last.end)
    assert_never(ENDS[last.end].follows)


def _ends_itself(past: Sequence[PastAttempt]) -> bool:
    """Whether the trainer exits 0 again after one epoch at most, as where it stops early each time."""
    return [one.end for one in past[-2:]] == ["unfinished"] * 2 and past[-1].brought <= 1


def _again(last: PastAttempt, why: str, *, probe_first: bool = False) -> Retry:
    return Retry(last.rung, probe_first, f"{last.end}: {why}")


def _without_checkpoint(past: Sequence[PastAttempt]) -> list[PastAttempt]:
    """The attempts since the one that saved the newest checkpoint."""
    return list(takewhile(lambda attempt: not attempt.new_checkpoint, reversed(past)))


def _host_memory(past: Sequence[PastAttempt]) -> Step:
    if sum(attempt.end == "oom-host" for attempt in _without_checkpoint(past)) > 1:
        return _final("oom-host")
    return _again(past[-1], "memory may have been short this once")


def _rung_in_doubt(past: Sequence[PastAttempt], ladder: Sequence[str]) -> Step:
    """Communication failed or hung: is it the rung? On the last one, new checkpoints reset the count."""
    last = past[-1]
    is_last = last.rung == ladder[-1]
    counted = _without_checkpoint(past) if is_last else past
    if sum((attempt.end, attempt.rung) == (last.end, last.rung) for attempt in counted) > 1:
        return _rung_below(last.rung, ladder, f"{last.end} for the second time on {last.rung}")
    return _again(last, f"{last.rung} is in doubt", probe_first=True)


def _rung_below(rung: str, ladder: Sequence[str], why: str) -> Decision | Retry:
    lower = ladder[ladder.index(rung) + 1 :]
    if not lower:
        return needs_decision(f"{why}, and `backends` has no other after it", _RANKS_CANNOT_TALK)
    return Retry(lower[0], probe_first=True, reason=why)


# ---------------------------------------------------------------------- what you read

_RANKS_CANNOT_TALK = (
    "check in the log which communication error came first, and the probe result of each backend; fix the"
    " network or add a backend to the stage's `backends` in the config"
)
_STARTUP_ERROR = "the trainer failed before its first training step, and a retry would fail the same way"
_FIX_STARTUP = "fix the exception in the trainer or its config; check in the log what came before it"
_ENDS_ITSELF = needs_decision(
    "the trainer exits 0 by itself before its end, and did so again after hardly any more training",
    "check in the log why (early stopping?); set epochs (iters) to what it trains, or its patience, or"
    " promote the newest checkpoint as it is with trainrelay accept",
)
_NO_RESUME = "there is no checkpoint to resume from"
_NOT_UNDERSTOOD = "check where and in which form the trainer saves its checkpoints and fix that"
_MOVE_AWAY = ", or move these files away to train from scratch"


def _startup_error(last: PastAttempt) -> Decision:
    torn = f"; if it is that the checkpoint is not whole, move it away: {last.resumed_from}"
    return needs_decision(_STARTUP_ERROR, _FIX_STARTUP + (torn if last.resumed_from else ""))


def _final(end: EndClass) -> Decision:
    return needs_decision(ENDS[end].reason, ENDS[end].what_to_do)


def nothing_to_resume_from(left: Leftovers, *, after_exit_0: bool = False) -> Decision:
    """Why no attempt starts from scratch, or repeats what was not understood."""
    what = "no last checkpoint is understood" if after_exit_0 else _NO_RESUME
    how = left.remedy or _NOT_UNDERSTOOD + (_MOVE_AWAY if left.files else "")
    return needs_decision(f"{what}: {left.text}", how)
