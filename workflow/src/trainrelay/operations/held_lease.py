"""The lease of a stage, held while a verb writes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trainrelay.supervise import Lease, acquire, stop_requests
from trainrelay.system.say import say
from trainrelay.training.context import StageContext


@contextmanager
def held_lease(at: StageContext, before_claim: Callable[[], None] = lambda: None) -> Iterator[Lease]:
    """The one writer's right to this stage, given back at the end."""
    with stop_requests() as stop:
        lease = acquire(at.paths.supervision, at.name, say, lambda: stop.requested, before_claim=before_claim)
    with lease:
        yield lease
