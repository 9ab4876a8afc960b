"""The one table of ends: what follows each, and what you read where no retry helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trainrelay.errors import Diverged, NoProgress, TrainrelayError, UserError
from trainrelay.records.files import AttemptRecord, EndClass


@dataclass(frozen=True, slots=True)
class EndRule:
    """What follows an end; `supervise/decide` holds the conditions of each kind.

    `error` is raised by a launch that gives up after it. `reason` and `what_to_do` are for an end that no
    retry cures; one that was requested needs advice only where no job gets far enough. `in_a_log` is for who
    has only a log that ended so, where that is something else.
    """

    follows: Literal["done", "stop", "final", "retry", "port", "memory", "doubt", "bug"]
    error: type[TrainrelayError] = NoProgress
    reason: str = ""
    what_to_do: str = ""
    in_a_log: str = ""


ENDS: Mapping[EndClass, EndRule] = {
    "done": EndRule("done"),
    "interrupted": EndRule("stop"),
    "time-limit": EndRule(
        "stop",
        what_to_do="set runtime_min of the stage's resources so that each job saves a checkpoint, or save"
        " checkpoints more often",
    ),
    "preempted": EndRule(
        "stop",
        what_to_do="ask for a partition or qos whose jobs are not preempted, or save checkpoints more often",
    ),
    "killed": EndRule(
        "retry",
        in_a_log="it was ended from outside: check `dmesg`, `sacct` and the host's memory, then resume",
    ),
    "unfinished": EndRule("retry"),
    "lost": EndRule("retry"),
    "node": EndRule("retry", in_a_log="resume on another node, and report this one"),
    "comm": EndRule(
        "doubt",
        in_a_log="see whether one rank failed or hung first (evaluation, data, memory); if none did, resume"
        " with NCCL_P2P_DISABLE=1, then with NCCL_IB_DISABLE=1 too, else with gloo",
    ),
    "hang": EndRule("doubt"),
    "trainer-bug": EndRule(
        "bug", in_a_log="read the traceback in the log, fix the cause and resume from the newest checkpoint"
    ),
    "port": EndRule(
        "port",
        UserError,
        "the port that the config names is taken",
        "check with `ss -ltnp` which process uses it and end that, or set `master_port: null` for a free port"
        " each time",
    ),
    "oom-host": EndRule(
        "memory",
        UserError,
        "the host's memory ran out twice without a new checkpoint in between",
        "check in the log which process it was; ask for more memory (`mem_gb` of the stage's resources;"
        " in a container for a larger /dev/shm, too) or set fewer data workers",
    ),
    "diverged": EndRule(
        "final",
        Diverged,
        "the loss or the weights became NaN or Inf; a retry would diverge again",
        "check in the report which step was the first that is not finite; lower the learning rate in the"
        " trainer config (the change trains from scratch and keeps the old training)",
    ),
    "oom-gpu": EndRule(
        "final",
        UserError,
        "the training does not fit the GPU's memory",
        "check in the log how much it asked for; make the model or the batch smaller (UniAD: queue_length,"
        " DETR: batch_size)",
    ),
    "disk-full": EndRule(
        "final",
        UserError,
        "the disk is full, over its quota or read-only",
        "check in the log which file it was; free space there or make it writable; what is trained is kept",
    ),
    "not-resumed": EndRule(
        "final",
        UserError,
        "the trainer was asked to resume and did not",
        "check in the log why it ignored the checkpoint, and fix it; trainrelay overwrote nothing",
    ),
}


def advice(end: EndClass) -> str:
    """What to do after an end of which only the log is known."""
    return ENDS[end].in_a_log or ENDS[end].what_to_do


STOPPED: frozenset[EndClass] = frozenset(end for end, rule in ENDS.items() if rule.follows == "stop")
"""Ends that were requested: nothing failed."""


def gave_up(attempt: AttemptRecord) -> str | None:
    """Why no other attempt follows although the training is not finished, and what to do; None: one may.

    Attempts recorded before decisions were are judged by their end.
    """
    if attempt.decision is not None:
        final = attempt.decision.step == "final"
        return f"{attempt.decision.reason}; {attempt.decision.what_to_do}" if final else None
    rule = ENDS[attempt.end] if attempt.end else None
    return f"{rule.reason}; {rule.what_to_do}" if rule and rule.follows == "final" else None
