"""mmcv 1.x: EpochBasedRunner and IterBasedRunner. Its optimizers step within the hooks of an iteration."""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from typing import Any

from trainrelay_hook import data_order, training
from trainrelay_hook.runners import Runner

_FLOW = "_trainrelay_flow"  # the attribute of a runner for the loaders that it runs through, with their modes
_COUNTERS = ("divisible_iters", "remainder_iters", "initialized")  # of mmcv's GradientCumulativeOptimizerHook


def attach(module: Any, settings: dict[str, Any]) -> None:
    """Wraps `BaseRunner.call_hook`; AttributeError where this mmcv has none."""
    if training.follow(module.BaseRunner, functools.partial(Mmcv, module=module), "before_run", settings):
        for kind in (module.EpochBasedRunner, module.IterBasedRunner):
            _remember_flow(kind)
        data_order.count_passes(sys.modules[module.IterBasedRunner.__module__].IterLoader)


class Mmcv(Runner):
    """One of these."""

    def __init__(self, own: Any, module: Any) -> None:
        super().__init__(own, module)
        self.by_epoch = getattr(own, "max_epochs", None) is not None
        self.name = type(own).__name__
        several = isinstance(own.optimizer, dict)
        self.steps_itself = several or getattr(own, "batch_processor", None) is not None
        self.optimizers = self.stateful = [*own.optimizer.values()] if several else [own.optimizer]

    @property
    def loader(self) -> Any:
        """That of the workflow."""
        return next(loader for mode, _, loader in getattr(self.own, _FLOW) if mode == "train")

    @property
    def loss(self) -> Any:
        """Of the forward pass."""
        return self.own.outputs.get("loss") if isinstance(self.own.outputs, dict) else None

    def why_unknown(self) -> str | None:
        """By what the runner does, whatever its name; a resumed one begins its workflow again."""
        methods = ("run", "train", "run_iter") if self.by_epoch else ("run", "train")
        known = self._module.EpochBasedRunner if self.by_epoch else self._module.IterBasedRunner
        kind = type(self.own)
        if any(getattr(kind, name, None) is not getattr(known, name) for name in methods):
            return "the runner {} is not known".format(kind.__name__)
        flow = getattr(self.own, _FLOW)
        trained = [count for mode, count, _ in flow if mode == "train"]
        once = trained == [1] or (self.by_epoch and len(flow) == 1)
        if len(trained) != 1 or not once or not (self.by_epoch or len(flow) == 1):
            return "its workflow is {}".format([(mode, count) for mode, count, _ in flow])
        return data_order.why_unknown(self.loader)

    def begin_iteration(self, given: dict[str, Any]) -> None:  # noqa: ARG002
        """It counts them itself."""
        if self.own.epoch == self._skipped[0]:
            self.own._inner_iter += self._skipped[1]

    def kept(self) -> dict[str, Any]:
        """`meta`, the log buffer, and counters of hooks."""
        buffer, hooks = self.own.log_buffer, self.own.hooks
        return {
            "meta": self.own.meta,
            "log": (buffer.val_history, buffer.n_history, buffer.output, buffer.ready),
            "hooks": [{name: vars(one)[name] for name in _COUNTERS if name in vars(one)} for one in hooks],
        }

    def put_place(self, place: dict[str, int], kept: dict[str, Any]) -> None:
        """Hooks read `meta`."""
        own, meta = self.own, kept["meta"]
        own._epoch, own._iter = max(0, place["epoch"] - 1), place["step"]
        if meta is not None:
            own.meta = {**(own.meta or {}), **meta}
        for hook in own.hooks:
            if hasattr(hook, "initial_flag"):  # an evaluation before the first epoch is long done
                hook.initial_flag = False
        if self.by_epoch:
            self._skipped = own._epoch, place["iteration"]

    def put_kept(self, kept: dict[str, Any]) -> None:
        """The log buffer, and counters of hooks."""
        buffer = self.own.log_buffer
        history, counts, output, buffer.ready = kept["log"]
        places = (buffer.val_history, buffer.n_history, buffer.output)
        for place, values in zip(places, (history, counts, output)):
            place.clear()
            place.update(values)
        for hook, counters in zip(self.own.hooks, kept["hooks"]):
            vars(hook).update(counters)
        if self.by_epoch:
            self.own._inner_iter = self._skipped[1] - 1  # what hooks find after an epoch's end

    def pass_alone(self, train_step: Any, *args: Any, **kwargs: Any) -> None:
        """Its hooks make the backward pass."""
        train_step(*args, **kwargs)["loss"].backward()


def _remember_flow(runner_class: Any) -> None:
    original = runner_class.run

    @functools.wraps(original)
    def run(self: Any, data_loaders: Any, workflow: Any, *args: Any, **kwargs: Any) -> Any:
        with suppress(Exception):  # whatever is wrong with them, the runner says it
            setattr(self, _FLOW, [(*flow, loader) for flow, loader in zip(workflow, data_loaders)])
        return original(self, data_loaders, workflow, *args, **kwargs)

    runner_class.run = run
