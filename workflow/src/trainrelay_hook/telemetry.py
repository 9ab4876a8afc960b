"""What a rank of any torch trainer does: steps, their time, data time, memory. It asks no other rank.

Counted are the steps of optimizers: one where several step in turn, none that a loss scaler skips. The counts
are in a nameless file in memory, which the supervisor reads through /proc though the rank is stopped. Every
10 s a thread writes telemetry-R.json; `passes` are those over the data that had steps, at the last step
`iteration` of `iterations` batches (0: unknown) of its pass were done, `step_s` and `data_s` are smoothed:

    {"format": 1, "rank": 5, "host": "node2", "at_s": 1.8e9, "steps": 1203, "batches": 1204, "waiting": 0,
     "passes": 2, "iteration": 403, "iterations": 800, "step_s": 0.42, "data_s": 0.05, "memory_bytes": 1e10}
"""

from __future__ import annotations

import atexit
import functools
import json
import mmap
import multiprocessing
import operator
import os
import resource
import socket
import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

from trainrelay_hook import files, initial_weights

EVERY_S = 10.0
_SMOOTHED = 20
_PAUSE = 10.0  # of a step that takes more usual ones (an evaluation, a save) no more is counted
_STEPS, _BATCHES, _WAITING = range(len(files.COUNTS))
_SIZE = 8 * len(files.COUNTS)


class Telemetry:
    """The counts of this process, from its first batch or step on."""

    def __init__(self) -> None:
        self._on: bool | None = None  # None: nothing has happened yet
        self._counts: Any = memoryview(bytearray(_SIZE)).cast("d")
        self._entered = False  # a step, of which none within it has ended
        self._round: set[int] = set()  # the optimizers that did the last step together
        self._done = 0
        self._skips: Any = None  # how many of them a scaler skipped: on its device, and here as of late
        self._last_s = self._step_s = self._data_s = self._waited_s = 0.0
        # The last batch: its iterator, its number, and the sampler, which is as long as the pass.
        self._batch: Any = (0, 0, lambda: None)
        self._place, self._passes = self._batch, 0

    def enter_step(self, optimizer: Any) -> None:
        """An optimizer's step begins, perhaps within another's or a subclass's."""
        initial_weights.before_step(optimizer)
        self._entered = True

    def leave_step(self, optimizer: Any) -> None:
        """It has ended; the innermost one counts."""
        if self._entered:
            self._entered = False
            with suppress(Exception):  # of ours
                self._count(optimizer)

    def next_batch(self, original: Any, iterator: Any) -> Any:
        """A data loader's next batch."""
        if not self._works():
            return original(iterator)
        begun_s, self._counts[_WAITING] = time.perf_counter(), 1
        try:
            batch = original(iterator)
        finally:
            self._counts[_WAITING] = 0
        self._waited_s += time.perf_counter() - begun_s
        self._counts[_BATCHES] += 1
        with suppress(Exception):  # of ours; a list has no weak reference
            self._batch = id(iterator), iterator._num_yielded, weakref.ref(iterator._index_sampler)
        return batch

    def _works(self) -> bool:
        if self._on is None:
            self._on = multiprocessing.parent_process() is None  # data workers have a rank's environment, too
            with suppress(Exception):
                threading.Thread(target=self._keep_reporting, name="trainrelay", daemon=True).start()
                atexit.register(self._report)
                os.register_at_fork(after_in_child=lambda: setattr(self, "_on", False))
                nameless = os.memfd_create(files.COUNTS_NAME)
                os.ftruncate(nameless, _SIZE)
                self._counts = memoryview(mmap.mmap(nameless, _SIZE)).cast("d")
        return self._on

    def _count(self, optimizer: Any) -> None:
        # Several optimizers do a step together, which ends when one of them begins again.
        known = id(optimizer) in self._round
        self._round = {id(optimizer)} if known else self._round | {id(optimizer)}
        if not self._works() or (not known and len(self._round) > 1):
            return
        self._done += 1
        self._counts[_STEPS] = self._done - (float(self._skips[1]) if self._skips else 0)
        now_s, before_s, self._last_s = time.perf_counter(), self._last_s, time.perf_counter()
        if before_s:
            took_s = min(now_s - before_s, _PAUSE * self._step_s or now_s)
            self._step_s += (took_s - self._step_s) / min(self._done - 1, _SMOOTHED)
            self._data_s += (min(self._waited_s, took_s) - self._data_s) / min(self._done - 1, _SMOOTHED)
        self._waited_s = 0.0
        self._passes += self._batch[0] != self._place[0] or self._batch[1] < self._place[1]
        self._place = self._batch
        if getattr(optimizer, "found_inf", None) is not None:  # a fused one is called by its scaler to skip
            self._skip(optimizer.found_inf)

    def _skip(self, found: Any) -> None:
        """Waits for no GPU: a skip shows with one of the next steps."""
        torch = sys.modules["torch"]
        if found.is_cuda and torch.cuda.is_current_stream_capturing():
            return
        if self._skips is None:
            here = torch.zeros(found.shape, device="cpu", pin_memory=found.is_cuda)
            self._skips = torch.zeros_like(found), here
        self._skips[0].add_(found != 0)
        self._skips[1].copy_(self._skips[0], non_blocking=True)

    def _keep_reporting(self) -> None:
        while True:
            self._report()
            time.sleep(EVERY_S)

    def _report(self) -> None:
        with suppress(Exception):  # a full disk, say: the next one may go well
            if not self._on:  # a child
                return
            report = {"format": files.FORMAT, "rank": int(files.rank()), "host": socket.gethostname()}
            report.update({name: int(self._counts[place]) for place, name in enumerate(files.COUNTS)})
            report.update(at_s=time.time(), passes=self._passes)
            report.update(iteration=self._place[1], iterations=operator.length_hint(self._place[2](), 0))
            report.update(step_s=self._step_s, data_s=self._data_s, memory_bytes=_memory_bytes())
            files.write(files.TELEMETRY, json.dumps(report), sync=False)


_telemetry = Telemetry()


def attach(module: Any) -> None:
    """Counts the steps of all optimizers, or the batches of all data loaders."""
    told: Any = _telemetry.next_batch
    if module.__name__ == files.LOADER:
        kind, name = module._BaseDataLoaderIter, "__next__"
    elif hasattr(module, "register_optimizer_step_post_hook"):  # torch >= 2.0
        untraced = getattr(sys.modules["torch"], "_disable_dynamo", lambda function: function)  # torch >= 2.1
        module.register_optimizer_step_pre_hook(untraced(lambda one, *_: _telemetry.enter_step(one)))
        module.register_optimizer_step_post_hook(untraced(lambda one, *_: _telemetry.leave_step(one)))
        return
    else:
        kind, name, told = module.Optimizer, "_hook_for_profile", _hook_for_us
    original = getattr(kind, name)
    setattr(kind, name, functools.wraps(original)(lambda one: told(original, one)))


def _hook_for_us(hook_for_profile: Any, optimizer: Any) -> None:
    """Wraps the step of each class that has an optimizer, as torch's profiler does there."""
    hook_for_profile(optimizer)
    step = type(optimizer).step
    if hasattr(step, "_trainrelay"):
        return

    @functools.wraps(step)  # with torch's mark that it is hooked
    def told_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        _telemetry.enter_step(self)
        result = step(self, *args, **kwargs)
        _telemetry.leave_step(self)
        return result

    type(optimizer).step, told_step._trainrelay = told_step, True  # type: ignore[attr-defined]


def _memory_bytes() -> int:
    """The most that this process had so far: on a GPU where it uses one."""
    cuda = sys.modules["torch"].cuda
    if not cuda.is_initialized():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(max(map(cuda.max_memory_allocated, range(cuda.device_count()))))
