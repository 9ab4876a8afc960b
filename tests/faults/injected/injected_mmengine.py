"""Runs inside the ranks: a hook of mmengine that carries out plan.json, which is beside this file.

`paced`: each iteration begins when the step checkpoint before it is written.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import injected_waits
from injected_stamps import HERE, RANK, TAG, begin, checkpoints, stamp
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

PLAN = json.loads((HERE / "plan.json").read_text(encoding="utf-8"))


@HOOKS.register_module()
class InjectedFaults(Hook):
    priority = "LOWEST"

    def before_train_epoch(self, runner: Any) -> None:
        if RANK == 0:
            stamp("epoch", epoch=runner.epoch + 1, checkpoints=checkpoints(runner.work_dir))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if any(words["kind"] == "paced" for words in PLAN):
            injected_waits.wait_for_writers()
        for words in (one for one in PLAN if one["kind"] != "paced"):
            here = (RANK, runner.epoch + 1, batch_idx + 1) == (
                words["rank"],
                words["epoch"],
                words["iteration"],
            )
            if here and not (HERE / "fired").exists():
                (HERE / "fired").write_text(TAG)
                stamp("fired", kind=words["kind"], checkpoints=checkpoints(runner.work_dir))
                if words["kind"] == "newest-truncated":
                    newest = Path(Path(runner.work_dir, "last_checkpoint").read_text())
                    os.truncate(newest, newest.stat().st_size // 2)
                    stamp("damaged", checkpoints=checkpoints(runner.work_dir))
                os.kill(os.getpid(), signal.SIGKILL)

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
if any(words.get("then") == "ignores-resume" for words in PLAN):
    Runner.resume = ignored
