"""Called by the script of docs/my_own_script.md in its ranks, which count epochs and iterations from 0."""

from __future__ import annotations

import time
from pathlib import Path

import injected_plan
from injected_stamps import RANK, begin, checkpoints, stamp

_ignored = False


def first(epoch: int, out: str) -> int:
    """The epoch to begin with after a resume."""
    global _ignored  # noqa: PLW0603
    _ignored = injected_plan.IGNORES_RESUME
    if _ignored and RANK == 0:
        stamp("fired", kind="ignores-resume", checkpoints=checkpoints(out))
    return 0 if _ignored else epoch


def epoch(number: int, out: str) -> None:
    """One begins."""
    if RANK == 0:
        stamp("epoch", epoch=number + 1, checkpoints=checkpoints(out))


def step(number: int, i: int, out: str) -> None:
    """An iteration begins."""
    if _ignored and i == 1:  # of others an epoch takes longer than its first line needs to be seen
        time.sleep(600)
    injected_plan.play(number + 1, i + 1, out, lambda: max(Path(out).glob("epoch_*.pt")))


def done(number: int, i: int) -> None:
    """An iteration has ended."""
    if RANK == 0:
        stamp("iteration", epoch=number + 1, iteration=i + 1)


begin()
