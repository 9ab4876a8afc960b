"""A training continued at a step checkpoint: read and checked by every rank, then put into all or none.

Where each part is put in, so that the trainer's hooks, which it knows nothing of, find what they would have
found: counters and `meta` before the training's hooks, which read them; model, optimizer and log buffer
after the epoch's hooks (an EMA swaps weights there, loggers clear); the random number generators when the
samples are drawn (`data_order`); gradients before the first iteration. One that was saved at an epoch's end
leaves no iteration of that epoch, and the trainer does there again what it does after one.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from trainrelay_hook import files, notes, random_states, step_files, step_state
from trainrelay_hook.data_order import Order
from trainrelay_hook.runners import Runner

_OWN = "epoch_{}.pth"  # of the trainer's checkpoints


class Halfway(RuntimeError):
    """Only a part of the state could be put in: unlike other errors of the hook's, this ends the training."""


@contextmanager
def _whole(otherwise: str = "only a part could be put in: ") -> Iterator[None]:
    try:
        yield
    except Exception as error:
        notes.note(resumed=None, not_resumed=otherwise + notes.of(error))
        raise Halfway("a step checkpoint could not be put in") from error


class Resume:
    """What one rank has read; nothing is changed by that. Any error: why it cannot be continued."""

    def __init__(self, runner: Runner, order: Order, path: str) -> None:
        self._runner, self._order = runner, order
        manifest = step_files.manifest_of(path)
        ours = {"world_size": runner.world_size, "epoch_length": len(order), "exact": order.seed is not None}
        ours.update(sampler=type(order.sampler).__name__, runner=runner.name)
        for name, value in ours.items():
            if manifest[name] != value:
                raise ValueError("its {} is {}, here it is {}".format(name, manifest[name], value))
        self._tensors = step_files.read(path, manifest, files.MODEL)
        own = step_files.read(path, manifest, files.OF_RANK.format(runner.rank))
        self._small = pickle.loads(own["small"])  # noqa: S301 - as above
        self._tensors["model"].update(own.get("model", {}))
        self._pending = (own if runner.rank else self._tensors).pop("pending", {})
        why = step_state.unfit(runner, self._tensors)
        if why:
            raise ValueError(why)
        self.place = {name: manifest[name] for name in ("step", "epoch", "iteration")}

    def put_place(self) -> None:
        """Before the hooks that begin, and after: one of them may have loaded another checkpoint. Halfway."""
        if not self._tensors:
            return
        runner = self._runner
        if runner.by_epoch and runner.epoch == self.place["epoch"]:
            runner.own.save_checkpoint = self._without_its_own(runner.save_checkpoint)
        with _whole():
            runner.put_place(self.place, self._small)
            self._order.resume(self.place["iteration"], self._small)

    def _without_its_own(self, save: Callable[..., None]) -> Callable[..., None]:
        """The trainer has loaded its own of this epoch's end: saved again, a kill meanwhile would cost it."""
        runner, epoch = self._runner, self.place["epoch"]

        def save_checkpoint(out_dir: str, *more: Any, **named: Any) -> None:
            name = (*more, *(named[key] for key in ("filename_tmpl", "filename") if key in named), _OWN)[0]
            own = name.replace("{}", str(epoch))
            again = runner.epoch + 1 == epoch and str(epoch) in own
            if not (again and os.path.exists(os.path.join(out_dir, own))):
                save(out_dir, *more, **named)

        return save_checkpoint

    def put_state(self) -> None:
        """After the hooks' `before_train_epoch`. Halfway."""
        if not self._tensors:
            return
        small = self._small
        with _whole():
            step_state.put_tensors(self._runner, self._tensors)
            step_state.put_attributes(self._runner, self._order, small.get("attributes", {}))
            self._runner.put_kept(small)
            if self._runner.by_epoch or self._runner.begins_again:  # a hook may have looked at batches
                self._order.resume(self.place["iteration"], small)
            self._runner.put_order()
        self._tensors = {}

    def begin_iteration(self) -> None:
        """Before the hooks of the first iteration."""
        runner, small, self._small = self._runner, self._small, {}
        if not small:
            return
        put, self._pending = partial(step_state.put_gradients, runner, small["gradients"], self._pending), {}
        if getattr(runner.model, "find_unused_parameters", True) or runner.steps_itself:
            with _whole():
                put()
        else:
            self._after_a_first_pass(put)

    def _after_a_first_pass(self, put_gradients: Callable[[], None]) -> None:
        """DDP orders its buckets by the first backward pass; how gradients are rounded depends on that.

        So one pass is thrown away, where the first one would be another than in the training so far.
        """
        runner, model = self._runner, self._runner.model
        train_step, own = model.train_step, vars(model).get("train_step")

        def step_twice(batch: Any, *args: Any, **kwargs: Any) -> Any:
            vars(model).pop("train_step")  # from now on its class's again, or its own
            vars(model).update({"train_step": own} if own else {})
            states, attributes = random_states.taken(), step_state.attributes(runner, self._order)
            buffers = {name: one.clone() for name, one in model.named_buffers()}
            with _whole("the pass that orders DDP's gradients failed: "):
                runner.pass_alone(train_step, copy.deepcopy(batch), *args, **kwargs)
                for name, one in model.named_buffers():
                    one.copy_(buffers[name])
                put_gradients()
                step_state.put_attributes(runner, self._order, attributes)
                random_states.put_back(states)
            return train_step(batch, *args, **kwargs)

        model.train_step = step_twice
