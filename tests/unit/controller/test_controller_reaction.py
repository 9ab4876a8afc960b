"""What Slurm's signals mean to a controller."""

from __future__ import annotations

from signal import SIGINT, SIGTERM, SIGUSR2, Signals

import pytest

from trainrelay.controller.run import Reaction, reaction
from trainrelay.slurm import QueueRow


def own(state: str, reason: str = "None", restarts: int = 0) -> QueueRow:
    return QueueRow("7", state, reason, restarts=str(restarts))


@pytest.mark.parametrize(
    ("heard", "job", "restarts", "wanted"),
    [
        # The warning before the limit.
        ([SIGUSR2], None, 0, "requeue"),
        ([SIGUSR2, SIGTERM], own("COMPLETING"), 0, "requeue"),
        # scancel.
        ([SIGTERM], own("COMPLETING"), 0, "cancel"),
        ([SIGTERM], own("CANCELLED"), 2, "cancel"),
        ([SIGINT], own("COMPLETING"), 0, "cancel"),
        # scontrol requeue, a preemption that requeues: Slurm starts it again by itself.
        ([SIGTERM], own("COMPLETING", restarts=1), 0, "leave"),
        ([SIGTERM], own("PENDING"), 0, "leave"),
        # A preemption's grace: the job still runs.
        ([SIGTERM], own("RUNNING"), 0, "requeue"),
        # Its limit, without a warning that was heard.
        ([SIGTERM], own("COMPLETING", "TimeLimit"), 0, "requeue"),
        # Slurm does not answer: the trainings go on.
        ([SIGTERM], None, 0, "leave"),
    ],
)
def test_trainings_end_only_where_the_job_was_cancelled(
    heard: list[Signals], job: QueueRow | None, restarts: int, wanted: Reaction
) -> None:
    assert reaction(heard, job, restarts) == wanted
