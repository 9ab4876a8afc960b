"""Runs inside the ranks: a hook of mmengine that carries out plan.json, which is beside this file.

`paced`: each iteration begins when the step checkpoint before it is written.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import injected_plan
import injected_waits
from injected_stamps import RANK, begin, checkpoints, stamp
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class InjectedFaults(Hook):
    priority = "LOWEST"

    def before_train_epoch(self, runner: Any) -> None:
        if RANK == 0:
            stamp("epoch", epoch=runner.epoch + 1, checkpoints=checkpoints(runner.work_dir))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if injected_plan.PACED:
            injected_waits.wait_for_writers()
        if injected_plan.IGNORES_RESUME:
            time.sleep(0.5)  # an epoch of milliseconds would be saved over before its first line is read
        last = Path(runner.work_dir, "last_checkpoint")
        injected_plan.play(runner.epoch + 1, batch_idx + 1, runner.work_dir, lambda: Path(last.read_text()))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if RANK == 0:
            stamp("iteration", epoch=runner.epoch + 1, iteration=batch_idx + 1)


def ignored(self: Any, filename: str, *_: Any, **__: Any) -> None:
    """In place of Runner.resume: as a trainer that trains from scratch without a word."""
    if RANK == 0:
        stamp("fired", kind="ignores-resume", checkpoints=checkpoints(self.work_dir))


begin()
if injected_plan.IGNORES_RESUME:
    Runner.resume = ignored
