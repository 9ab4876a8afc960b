"""A runner as the rest of the hook asks it: a class per family (mmcv 1.x, mmengine) derives from this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Runner:
    """Whatever is not here is asked of the trainer's own, `own`: rank, world_size, model, epoch, iter, hooks.

    Of an iteration: `inner_iter`, its number in the epoch, from 0; `data_batch`; `loss`, None if not known.
    """

    by_epoch: bool  # whether it counts iterations within epochs
    name: str  # of what trains
    optimizers: list[Any]  # torch's
    stateful: list[Any]  # what holds their states
    steps_itself: bool  # the model makes its backward passes and steps by itself

    def __init__(self, own: Any, module: Any) -> None:
        self.own, self._module = own, module
        self._skipped = (-1, 0)  # so many iterations of this epoch were done in an earlier attempt

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    @property
    def loader(self) -> Any:
        """What it trains with."""
        raise NotImplementedError

    @property
    def modules(self) -> dict[str, Any]:
        """What holds weights and buffers, by the beginning of their names."""
        return {"": self.own.model}

    @property
    def evaluates_next(self) -> bool:
        """Whether it does so before the next iteration, and not in a hook of this one."""
        return False

    def why_unknown(self) -> str | None:
        """Why there may be more to continue than is known here; None: there is not. Asked first of all."""
        raise NotImplementedError

    def begin_iteration(self, given: dict[str, Any]) -> None:
        """Before its hooks; `given` is what they are called with. It counts an epoch's iterations from 0."""
        raise NotImplementedError

    def end_iteration(self, given: dict[str, Any]) -> None:
        """Before the hooks that follow it, in the same way."""

    def before_update(self, tell: Callable[[], None]) -> None:
        """`tell` is to be called before an optimizer steps, where that is not among the hooks."""

    def kept(self) -> dict[str, Any]:
        """The family's own part of a rank's state; it is pickled."""
        raise NotImplementedError

    def put_place(self, place: dict[str, int], kept: dict[str, Any]) -> None:
        """Counters, and what hooks read of `kept` before they begin."""
        raise NotImplementedError

    def put_kept(self, kept: dict[str, Any]) -> None:
        """The rest of it."""
        raise NotImplementedError

    def put_order(self) -> None:
        """Batches are drawn again, where that had begun: their order was told where to continue."""

    def pass_alone(self, train_step: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """A forward and a backward pass without a step."""
        raise NotImplementedError
