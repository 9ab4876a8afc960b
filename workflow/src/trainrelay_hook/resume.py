"""A training continued at a step checkpoint: read and checked by every rank, then put into all or none.

Where each part is put in, so that the trainer's hooks, which it knows nothing of, find what they would have
found: counters and `meta` before `before_run`, from which hooks read them; model, optimizer and log buffer
after the epoch's hooks (an EMA swaps weights there, loggers clear); the random number generators when the
samples are drawn (`data_order`); gradients before the first iteration. One that was saved at an epoch's end
leaves no iteration of that epoch, and the trainer does there again what it does after one.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from trainrelay_hook import files, notes, random_states, step_files, step_state
from trainrelay_hook.data_order import Order


class Halfway(RuntimeError):
    """Only a part of the state could be put in: unlike other errors of the hook's, this ends the training."""


class Resume:
    """What one rank has read; nothing is changed by that. Any error: why it cannot be continued."""

    def __init__(self, runner: Any, order: Order, path: str) -> None:
        self._runner, self._order = runner, order
        manifest = step_files.manifest_of(path)
        ours = {"world_size": runner.world_size, "epoch_length": len(order), "exact": order.seed is not None}
        ours["sampler"] = type(order.sampler).__name__
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

    def put_counters(self) -> None:
        """Before the hooks' `before_run`, and after: one of them may have loaded another checkpoint."""
        runner, meta = self._runner, self._small["meta"]
        if runner.epoch == self.place["epoch"]:
            runner.save_checkpoint = self._without_its_own(runner.save_checkpoint)
        runner._epoch, runner._iter = self.place["epoch"] - 1, self.place["step"]
        if meta is not None:
            runner.meta = {**(runner.meta or {}), **meta}
        for hook in runner.hooks:
            if hasattr(hook, "initial_flag"):  # an evaluation before the first epoch is long done
                hook.initial_flag = False

    def _without_its_own(self, save: Callable[..., None]) -> Callable[..., None]:
        """The trainer has loaded its own of this epoch's end: saved again, a kill meanwhile would cost it."""
        runner, epoch = self._runner, self.place["epoch"]

        def save_checkpoint(
            out_dir: str, filename_tmpl: str = "epoch_{}.pth", *more: Any, **named: Any
        ) -> None:
            name = filename_tmpl.format(epoch)
            again = name != filename_tmpl and runner.epoch + 1 == epoch  # unlike that of a best score
            if not (again and os.path.exists(os.path.join(out_dir, name))):
                save(out_dir, filename_tmpl, *more, **named)

        return save_checkpoint

    def put_state(self) -> None:
        """After the hooks' `before_train_epoch`. Halfway."""
        if not self._tensors:
            return
        small = self._small
        self._order.seed = small["seed"]
        self._order.resume(self.place["iteration"], small["began"], small["then"])
        try:
            step_state.put_tensors(self._runner, self._tensors)
            step_state.put_small(self._runner, small)
            step_state.put_attributes(self._runner, self._order, small.get("attributes", {}))
        except Exception as error:
            notes.note(resumed=None, not_resumed="only a part could be put in: " + notes.of(error))
            raise Halfway("a step checkpoint could not be put in") from error
        self._tensors = {}
        self._runner._inner_iter = self.place["iteration"] - 1  # what hooks find after an epoch's end

    def begin_iteration(self) -> None:
        """Before the hooks' `before_train_iter`: the runner counts an epoch's iterations from 0 again."""
        runner = self._runner
        if runner.epoch == self.place["epoch"] - 1:
            runner._inner_iter += self.place["iteration"]
        small, self._small = self._small, {}
        if not small:
            return
        put, self._pending = partial(step_state.put_gradients, runner, small["gradients"], self._pending), {}
        # A model with several optimizers makes its backward passes and steps by itself.
        if getattr(runner.model, "find_unused_parameters", True) or isinstance(runner.optimizer, dict):
            put()
        else:
            runner.run_iter = self._after_a_first_pass(put)

    def _after_a_first_pass(self, put_gradients: Callable[[], None]) -> Any:
        """DDP orders its buckets by the first backward pass; how gradients are rounded depends on that.

        So one pass is thrown away, where the first one would be another than in the training so far.
        """
        runner, run_iter = self._runner, self._runner.run_iter

        def run_twice(batch: Any, **kwargs: Any) -> None:
            del runner.run_iter  # from now on its class's again
            states, log = random_states.taken(), runner.log_buffer
            attributes = step_state.attributes(runner, self._order)
            buffers = {name: one.clone() for name, one in runner.model.named_buffers()}
            runner.log_buffer = type(log)()
            run_iter(copy.deepcopy(batch), **kwargs)
            runner.outputs["loss"].backward()
            runner.log_buffer = log
            for name, one in runner.model.named_buffers():
                one.copy_(buffers[name])
            put_gradients()
            step_state.put_attributes(runner, self._order, attributes)
            random_states.put_back(states)
            run_iter(batch, **kwargs)

        return run_twice
