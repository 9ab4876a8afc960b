"""Trains in all the ways in which steps could be counted wrongly; prints what was counted of each, as JSON.

counted_steps.py [old]      `old`: as in a torch without global step hooks
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import SGD, Adam
from torch.optim.optimizer import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from trainrelay_hook import telemetry

if "old" in sys.argv:
    module = sys.modules["torch.optim.optimizer"]  # torch.optim hides it
    module._global_optimizer_pre_hooks.clear()
    module._global_optimizer_post_hooks.clear()
    original = Optimizer._patch_step_function
    Optimizer._patch_step_function = lambda one: telemetry._hook_for_us(original, one)

COUNTED = telemetry._telemetry
weight = torch.nn.Parameter(torch.ones(4))


class Above(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Fails(SGD):
    def step(self, closure: Any = None) -> Any:
        raise ValueError


def gradient(value: float = 0.0) -> None:
    weight.grad = torch.full((4,), value)


def steps(optimizer: Optimizer, *values: float) -> None:
    for value in values or (0.0,) * 5:
        gradient(value)
        optimizer.step()


def scaled(optimizer: Optimizer) -> None:
    """Five steps, two of which overflow."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for value in (1.0, float("inf"), 1.0, float("inf"), 1.0):
        scaler.scale(torch.zeros(()))
        gradient(value)
        scaler.step(optimizer)
        scaler.update()


def in_turn() -> None:
    one, other = SGD([weight], lr=0.0), SGD([weight], lr=0.0)
    for _ in range(5):
        steps(one, 0.0)
        steps(other, 0.0)


def one_after_the_other() -> None:
    """The second one's first step may be taken for a part of the first one's last."""
    for _ in range(2):
        kept.append(SGD([weight], lr=0.0))
        steps(kept[-1])


def failing() -> None:
    optimizer = SGD([weight], lr=0.0)
    steps(optimizer, 0.0)
    with suppress(ValueError):
        steps(Fails([weight], lr=0.0), 0.0)
    steps(optimizer, *(0.0,) * 4)


def zero() -> None:
    dist.init_process_group("gloo", init_method=f"file://{os.environ['MEET']}", rank=0, world_size=1)
    steps(ZeroRedundancyOptimizer([weight], optimizer_class=SGD, lr=0.0))


def epochs() -> None:
    """Two epochs of four batches with two of an evaluation in the midst of each, and accumulation of two."""
    loader = DataLoader(TensorDataset(torch.ones(8)), batch_size=2, num_workers=2, persistent_workers=True)
    kept.append(loader)
    optimizer = SGD([weight], lr=0.0)
    for _ in range(2):
        for number, _ in enumerate(loader, start=1):
            if number % 2 == 0:
                time.sleep(0.02)
                steps(optimizer, 0.0)
                list(DataLoader(TensorDataset(torch.ones(4)), batch_size=2))


kept: list[Any] = []  # so that no id is used again
CASES: dict[str, Callable[[], None]] = {
    "plain": lambda: steps(SGD([weight], lr=0.0)),
    "super": lambda: steps(Above([weight], lr=0.0)),
    "in turn": in_turn,
    "one after the other": one_after_the_other,
    "failing": failing,
    "zero": zero,
    "scaled": lambda: scaled(SGD([weight], lr=0.0)),
    "fused": lambda: scaled(Adam([weight], lr=0.0, fused=True)),
    "epochs": epochs,
}


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {}
    for name, case in CASES.items():
        before = COUNTED._counts.tolist()[:2]
        COUNTED._round.clear()  # each case is a training of its own
        case()
        found[name] = [now - was for now, was in zip(COUNTED._counts.tolist(), before, strict=False)]
    COUNTED._report()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
