"""mmengine: Runner with EpochBasedTrainLoop or IterBasedTrainLoop. Its optimizers step before the hooks that
follow an iteration. What is logged is in its message hub, by names.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from trainrelay_hook import data_order, training
from trainrelay_hook.data_order import Order
from trainrelay_hook.runners import Runner

# What the message hub knows of an attempt, not of the training.
_OF_ATTEMPT = ("cfg", "seed", "experiment_name", "mmengine_version", "dataset_meta")
_MOST = ("max_epochs", "max_iters")
_STEPS = ("update_params", "backward", "step", "zero_grad", "state_dict")  # of an optimizer wrapper


def attach(module: Any, settings: dict[str, Any]) -> None:
    """Wraps `Runner.call_hook`; AttributeError where this mmengine has none."""
    seen = functools.partial(Mmengine, module=module)
    if training.follow(module.Runner, seen, "before_train", settings):
        loops = sys.modules[module.IterBasedTrainLoop.__module__]
        prepare = functools.partial(_order_before_its_first_pass, steps=settings.get("steps"))
        data_order.count_passes(loops._InfiniteDataloaderIterator, prepare)
    if hasattr(module, "FlexibleRunner"):  # that it is not known is to be noted
        training.follow(module.FlexibleRunner, seen, "before_train", {**settings, "not_finite": False})


def _order_before_its_first_pass(loader: Any, steps: dict[str, Any] | None) -> None:
    """The loop that counts iterations begins it when it is made, long before the training."""
    with suppress(Exception):  # an unknown one
        if data_order.why_unknown(loader) is None:
            data_order.put_into(loader, steps, by_epoch=False)


class Mmengine(Runner):
    """One of these."""

    accumulates_alone = begins_again = True

    def __init__(self, own: Any, module: Any) -> None:
        super().__init__(own, module)
        self._loop, wrapper = own.train_loop, own.optim_wrapper
        self.by_epoch = not isinstance(self._loop, module.IterBasedTrainLoop)
        self.name, self.loader = type(self._loop).__name__, self._loop.dataloader
        self.steps_itself = hasattr(wrapper, "optim_wrappers")  # an OptimWrapperDict
        self.stateful = [*wrapper.optim_wrappers.values()] if self.steps_itself else [wrapper]
        self.optimizers = [one.optimizer for one in self.stateful]
        self.inner_iter, self.data_batch, self.loss = 0, None, None
        parts = set(own.model.modules())
        self._modules = {"": own.model}
        for number, hook in enumerate(own.hooks):  # as an EMA's
            for name, one in vars(hook).items():
                if isinstance(one, torch.nn.Module) and one not in parts:
                    self._modules["hooks.{}.{}.".format(number, name)] = one

    @property
    def modules(self) -> dict[str, Any]:
        """The model, and what hooks hold beside it."""
        return self._modules

    @property
    def skips(self) -> int:  # type: ignore[override]
        """As many as were done, from mmengine 0.10.3 on."""
        advances = not self.by_epoch and "range" in type(self._loop).run.__code__.co_names
        return self._loop.iter if advances else 0

    @property
    def evaluates_next(self) -> bool:
        """Where the loop evaluates after iterations."""
        loop, done = self._loop, self._loop.iter + 1
        if self.by_epoch or self.own.val_loop is None or done < loop.val_begin:
            return False
        every = loop.dynamic_intervals[bisect.bisect(loop.dynamic_milestones, done + 1) - 1]
        return bool(done % every == 0 or done == loop.max_iters)

    def why_unknown(self) -> str | None:
        """By what runner and loop do, whatever their names."""
        kind, loop, module = type(self.own), type(self._loop), self._module
        if getattr(kind, "train", None) is not module.Runner.train:
            return "the runner {} is not known".format(kind.__name__)
        known = module.EpochBasedTrainLoop if self.by_epoch else module.IterBasedTrainLoop
        methods = ("run", "run_epoch", "run_iter") if self.by_epoch else ("run", "run_iter")
        if any(getattr(loop, name, None) is not getattr(known, name) for name in methods):
            return "the loop {} is not known".format(loop.__name__)
        for one in self.stateful:
            if any(not getattr(type(one), name).__module__.startswith("mmengine.") for name in _STEPS):
                return "the optimizer wrapper {} is not known".format(type(one).__name__)
        why = data_order.why_unknown(self.loader)
        if not (why or self.by_epoch or isinstance(self.loader.batch_sampler, Order)):
            return "its data loader was begun in another way than by its loop"
        return why

    def begin_iteration(self, given: dict[str, Any]) -> None:
        """Counts on from what was done of this epoch."""
        self.end_iteration(given)
        self.loss = None

    def end_iteration(self, given: dict[str, Any]) -> None:
        """Before its hooks, too."""
        if self.own.epoch == self._skipped[0]:
            given["batch_idx"] += self._skipped[1]
        self.inner_iter, self.data_batch = given["batch_idx"], given.get("data_batch")

    def before_update(self, tell: Callable[[], None]) -> None:
        """Each wrapper makes backward pass and step at once."""
        for one in self.stateful:
            one.update_params = functools.partial(self._updates, one.update_params, tell)

    def _updates(self, update: Any, tell: Callable[[], None], loss: Any, *args: Any, **kwargs: Any) -> Any:
        self.loss = loss
        tell()
        self.loss = None  # an evaluation may need the memory of what it was computed from
        return update(loss, *args, **kwargs)

    def kept(self) -> dict[str, Any]:
        """The message hub, param schedulers, and how many backward passes were made."""
        hub = self.own.message_hub
        info = {name: one for name, one in hub.runtime_info.items() if name not in _OF_ATTEMPT + _MOST}
        return {
            "log": (dict(hub.log_scalars), info, dict(hub._resumed_keys)),
            "schedulers": [one.state_dict() for one in self._schedulers],
            "counts": [one._inner_count for one in self.stateful],
        }

    @property
    def _schedulers(self) -> list[Any]:
        every = self.own.param_schedulers or []
        return [*itertools.chain(*every.values())] if isinstance(every, dict) else list(every)

    def put_place(self, place: dict[str, int], kept: dict[str, Any]) -> None:
        """Hooks read the message hub."""
        self._loop._epoch, self._loop._iter = max(0, place["epoch"] - 1), place["step"]
        if self.by_epoch:
            self._skipped = self._loop._epoch, place["iteration"]
        self._put_log(*kept["log"])

    def put_kept(self, kept: dict[str, Any]) -> None:
        """All of it."""
        self._put_log(*kept["log"])
        for one, state in zip(self._schedulers, kept["schedulers"]):
            one.load_state_dict(state)
        for one, count in zip(self.stateful, kept["counts"]):
            one._inner_count = count

    def _put_log(self, scalars: dict[str, Any], info: dict[str, Any], keys: dict[str, bool]) -> None:
        hub = self.own.message_hub
        hub.log_scalars.clear()
        hub.log_scalars.update(scalars)
        hub.runtime_info.update(info)
        hub._resumed_keys.update(keys)

    def put_order(self) -> None:
        """A loop that counts iterations throws away the batches that it believes to be done."""
        if not self.by_epoch:
            loop = self._loop
            again = type(loop.dataloader_iterator)(loop.dataloader)
            loop.dataloader_iterator = itertools.chain(itertools.repeat(None, self.skips), again)

    def pass_alone(self, train_step: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """With a wrapper that does not step, and lets DDP take part where gradients are accumulated."""
        own = vars(self.stateful[0])
        before, nothing = dict(own), lambda *_, **__: None
        own.update(update_params=lambda loss, *_, **__: loss.backward(), should_sync=lambda: True)
        own.update(step=nothing, zero_grad=nothing)
        try:
            train_step(*args, **kwargs)
        finally:
            own.clear()
            own.update(before)
