"""When a step checkpoint is saved, and by whom: between two iterations, written by a thread.

All ranks save at the same step: rank 0 says that it is time or that the supervisor asks for one, any rank
that it is still writing, and all hear it before the optimizer steps (`agreement`). Saved is only after an
iteration in which it has stepped, where no gradients wait for the next one; and at each epoch's end, with
those that do: what a trainer saves there is not all of its state. A save that fails costs nothing but itself;
after some in a row there is a further one only at a request.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from trainrelay_hook import files, notes, optimizers, step_files, step_state, tensor_file
from trainrelay_hook.agreement import Agreement
from trainrelay_hook.data_order import Order
from trainrelay_hook.runners import Runner

HOLD_S = 3.0  # whoever asks for a step checkpoint is about to end the trainer: what it did meanwhile is lost
_VERSIONS = ("torch", "mmcv", "mmengine")
LOOK_S = 1.0  # between two looks at the supervisor's request


class StepSaving:
    """The step checkpoints of one rank of one run of a trainer."""

    def __init__(self, runner: Runner, settings: dict[str, Any], agreement: Agreement, order: Order) -> None:
        self._runner, self._settings, self._agreement, self._order = runner, settings, agreement, order
        self._attributes = step_state.attributes(runner, order)  # before it trains
        self._own_saved = False  # by the trainer, amid epochs, without what this one holds beside it
        self._memory = tensor_file.Memory()
        self._thread: threading.Thread | None = None
        self._allocated = self._over = self._stepped = False
        self._failures, self._answered = 0, 0
        self._saved_at_s, self._look_at_s, self._request = time.monotonic(), 0.0, 0
        for optimizer in runner.optimizers:
            optimizers.around(optimizer, "step", after=self._steps)
        if not runner.by_epoch:
            optimizers.around(runner.own, "save_checkpoint", after=lambda: setattr(self, "_own_saved", True))

    def begin_iteration(self) -> None:
        """No optimizer has stepped in this iteration yet."""
        self._stepped = False

    def says(self) -> tuple[float, float, float]:
        """For all ranks: whether this one is writing, that it is time, and the number of a request."""
        busy = not self._allocated or (self._thread is not None and self._thread.is_alive())
        now_s = time.monotonic()
        if self._runner.rank or self._over:
            return busy, False, 0
        if now_s >= self._look_at_s:
            self._look_at_s, self._request = now_s + LOOK_S, files.requested()
        due = self._own_saved or self._epoch_ends or now_s - self._saved_at_s >= self._settings["every_s"]
        return busy, due and self._failures < self._settings["failures_max"], self._request

    @property
    def _epoch_ends(self) -> bool:
        return self._runner.by_epoch and self._runner.inner_iter + 1 == self._order.length

    def end_iteration(self, busy: float, due: float, request: float) -> None:
        """After all hooks of an iteration: saves, where all ranks do."""
        runner = self._runner
        if self._order.lost and not self._over:
            self._over = True
            notes.note(saves=None, steps="a hook goes through the training's data, too")
        between = (self._stepped or self._epoch_ends) and not runner.evaluates_next
        if not between or not self._agreement.whole or self._over:
            return
        # Before the trainer's own, which would count instead; and while the other ranks are still there.
        first = self._epoch_ends and (self._order.seed is not None or runner.epoch + 1 == runner.max_epochs)
        if request > self._answered:
            self._answered = int(request)
            self._save(self._answered)
            self._wait()
            time.sleep(HOLD_S)
        elif due and (first or not busy):
            self._save(None)
            if first:
                self._wait()
        elif not self._allocated:  # at the first step: by then the optimizer has its state
            self._allocated = True
            tensors = step_state.tensors(runner)
            self._start(lambda: self._allocate(tensors))

    def _allocate(self, tensors: dict[str, Any]) -> None:
        with suppress(Exception):  # it is tried again, and said, when there is something to copy
            self._memory.allocate(tensors)

    def _steps(self) -> None:
        self._stepped = True

    def _save(self, request: int | None) -> None:
        runner, order = self._runner, self._order
        self._wait()
        self._allocated, self._own_saved, self._saved_at_s = True, False, time.monotonic()
        step, by_epoch = runner.iter + 1, runner.by_epoch
        try:
            content = self._copied()
        except Exception as error:  # noqa: BLE001 - a state of an unknown kind
            self._failed(step, error)
            return
        facts = {
            **{"step": step, "epoch": runner.epoch + 1 if by_epoch else 0},
            "iteration": runner.inner_iter + 1 if by_epoch else step,
            **{
                "epoch_length": order.length,
                "world_size": runner.world_size,
                "exact": order.seed is not None,
            },
            **{"request": request, "runner": runner.name, "sampler": type(order.sampler).__name__},
            **{name: sys.modules[name].__version__ for name in _VERSIONS if name in sys.modules},
            "saved_s": time.time(),
            "stall_s": round(time.monotonic() - self._saved_at_s, 4),
        }
        self._start(lambda: self._write(content, facts))

    def _copied(self) -> dict[str, tensor_file.Copied]:
        """This rank's state by file."""
        rank = self._runner.rank
        small = {"small": step_state.small(self._runner, self._order, self._attributes)}
        copied = self._memory.copied(step_state.tensors(self._runner, pending=not self._stepped))
        own = files.OF_RANK.format(rank)
        if rank:
            return {own: tensor_file.Copied({**small, **copied.tree}, copied.tensors)}
        return {own: tensor_file.Copied(small, []), files.MODEL: copied}

    def _write(self, content: dict[str, tensor_file.Copied], facts: dict[str, Any]) -> None:
        rank, settings, began_s = self._runner.rank, self._settings, time.monotonic()
        folder = self._folder(facts["step"])
        try:
            step_files.check_claim(settings)
            step_files.write_rank(folder, rank, content)
            if not rank:
                facts["write_s"] = round(time.monotonic() - began_s, 4)
                step_files.complete(folder, facts, settings)
        except step_files.Fenced:
            self._over = True
        except Exception as error:  # noqa: BLE001 - a full disk, say: the training continues
            self._failed(facts["step"], error)
        else:
            if self._failures:
                self._failures = 0
                notes.note(save_error=None)
            if not rank:
                with suppress(OSError):
                    step_files.remove_older(settings["folder"], settings["keep"])

    def _failed(self, step: int, error: Exception) -> None:
        self._failures += 1
        # First: on a full disk the note needs the room that the partial files take.
        step_files.give_up(self._folder(step), self._runner.rank, str(error)[:500])
        notes.note(save_error="the step checkpoint of step {}: {}".format(step, notes.of(error)))

    def _folder(self, step: int) -> str:
        return os.path.join(self._settings["folder"], files.STEP.format(step))

    def _start(self, act: Callable[[], Any]) -> None:
        # No daemon: one that is in the middle of torch when Python ends would change how the trainer ends.
        self._thread = threading.Thread(target=act, daemon=False)
        self._thread.start()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
