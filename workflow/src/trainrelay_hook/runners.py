"""A runner as the rest of the hook asks it: a class per family (mmcv 1.x, mmengine) derives from this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Runner:
    """What is not in it is asked of the trainer's own, `own`: rank, world_size, model, epoch, iter, hooks.

    Each family has the rest, too: `loader` of the training; of an iteration `inner_iter`, its number in the
    epoch, from 0, `data_batch`, and `loss`, None if it is not known;
    why_unknown()  why there may be more to continue than is known here, None if not
    begin_iteration(given)  before its hooks, which are called with `given`; it counts an epoch's from 0
    kept()  the family's own part of a rank's state, to be pickled
    put_place(place, kept)  counters, and what hooks read before they begin; put_kept(kept)  the rest
    pass_alone(train_step, ...)  a forward and a backward pass without a step
    """

    by_epoch: bool  # whether it counts iterations within epochs
    name: str  # of what trains
    optimizers: list[Any]  # torch's
    stateful: list[Any]  # what holds their states
    steps_itself: bool  # the model makes its backward passes and steps by itself
    accumulates_alone = False  # whether the ranks' gradients are not averaged before an iteration that steps
    begins_again = False  # whether its batches are drawn again once all is put in
    skips = 0  # so many batches its loop throws away when it resumes the trainer's own checkpoint
    evaluates_next: Any = False  # before the next iteration; one that continued there would not

    def __init__(self, own: Any, module: Any) -> None:
        self.own, self._module = own, module
        self._skipped = (-1, 0)  # so many iterations of this epoch were done in an earlier attempt

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    @property
    def modules(self) -> dict[str, Any]:
        """What holds weights and buffers, by the beginning of their names."""
        return {"": self.own.model}

    def end_iteration(self, given: dict[str, Any]) -> None:
        """Before the hooks that follow it, in the same way."""

    def before_update(self, tell: Callable[[], None]) -> None:
        """`tell` is to be called before an optimizer steps, where that is not among the hooks."""

    def put_order(self) -> None:
        """Batches are drawn again, where that had begun: their order knows where to continue."""
