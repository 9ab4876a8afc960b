"""What this call of Snakemake tried before: attempts of jobs that were requeued or submitted again (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, takewhile

from trainrelay.records import AttemptRecord
from trainrelay.supervise.decide import PastAttempt


def past_attempts(
    attempts: Iterable[AttemptRecord], launch: str | None, reached: tuple[int, int], ladder: Sequence[str]
) -> list[PastAttempt]:
    """The newest attempts that share the name of the launch, in order; none where it has no name.

    `reached`: finished epochs and iterations of the next one that the newest checkpoint holds at this moment.
    """
    known = list(takewhile(lambda attempt: launch and attempt.launch == launch, reversed(list(attempts))))
    begun = [attempt.began for attempt in reversed(known)]
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
    )
