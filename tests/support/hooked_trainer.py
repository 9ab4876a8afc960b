"""A trainer with mmcv's and mmengine's runners that plays cases of numbers that are not finite, a line each.

    hooked_trainer.py CASE... -- CASE...    in the environment of a rank (RANK, WORLD_SIZE, MASTER_ADDR, ..)

Each case is a short training; its line says how it ended, after how many iterations, and what was left. Those
before the `--` are played by rank 0, on its own, the others by all ranks together.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import types
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

time.sleep = lambda _: None  # type: ignore[assignment]  # mmcv sleeps 2 s per epoch
try:
    import torchvision  # noqa: F401
except Exception:  # noqa: BLE001 - whatever a torchvision without CUDA raises
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    sys.modules["torchvision"].__version__ = "0.0"  # type: ignore[attr-defined]

from mmcv.parallel import DataContainer, MMDistributedDataParallel  # noqa: E402
from mmcv.runner import EpochBasedRunner, IterBasedRunner  # noqa: E402
from mmcv.runner.hooks.optimizer import (  # noqa: E402
    Fp16OptimizerHook,
    GradientCumulativeFp16OptimizerHook,
    GradientCumulativeOptimizerHook,
    OptimizerHook,
)
from mmengine.model import BaseModel  # noqa: E402
from mmengine.optim import AmpOptimWrapper, OptimWrapper  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

ITERATIONS, BAD = 6, 3  # BAD is counted from 1
RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


class Model(nn.Module):
    def __init__(self, habit: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)
        self.unused = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(1))
        self.habit = habit

    def forward(self, x: torch.Tensor, bad: bool) -> torch.Tensor:
        predicted = self.second(torch.relu(self.first(x))).mean()
        loss = predicted**2
        if self.habit == "unused-everywhere":
            loss = loss + 0 * sum(one.sum() for one in self.unused.parameters())
        side = (self.scale**2).sum() * 0.1
        if self.habit == "logged":  # for the log alone
            torch.nan_to_num(torch.log(-1 - predicted**2))
        elif self.habit == "nothing":
            empty = predicted * self.scale[:0]
            side = side + torch.nan_to_num(empty.sum() / 0 if bad else empty.sum())
        elif not bad:
            side = side + torch.nan_to_num(torch.log(1 + predicted**2))
        elif self.habit == "hidden":
            side = side + torch.nan_to_num(torch.log(-1 - predicted**2))
        elif self.habit == "hidden-method":
            side = side + torch.log(-1 - predicted**2).nan_to_num()
        elif self.habit == "gradient":  # the loss is finite, one parameter's gradient is not
            side = side + (torch.sqrt(self.scale - self.scale) * 0).sum()
        elif self.habit == "inf":
            loss = loss * float("inf")
        elif self.habit == "inf-and-hidden":
            loss = loss * float("inf")
            side = side + torch.nan_to_num(torch.log(-1 - predicted**2))
        else:
            loss = loss * float("nan")
        return loss + side


class Stepping(nn.Module):
    """What mmcv asks of a model; the runner's own wrapper calls forward through DDP."""

    def __init__(self, habit: str) -> None:
        super().__init__()
        self.inner = Model(habit)

    def forward(self, batch: Any) -> torch.Tensor:
        return self.inner(batch["x"], batch["bad"])

    def train_step(self, batch: Any, optimizer: Any, **_: Any) -> dict[str, Any]:
        return outputs(self(batch))


class Ddp(MMDistributedDataParallel):
    _use_replicated_tensor_module = False  # torch >= 2 has it no longer

    def train_step(self, batch: Any, optimizer: Any, **_: Any) -> dict[str, Any]:
        return outputs(nn.parallel.DistributedDataParallel.forward(self, batch))


def outputs(loss: torch.Tensor) -> dict[str, Any]:
    return {"loss": loss, "log_vars": {"loss": 0.0}, "num_samples": 1}


class ProtectsItself(OptimizerHook):
    def after_train_iter(self, runner: Any) -> None:
        runner.optimizer.zero_grad()
        runner.outputs["loss"].backward()
        if all(
            bool(torch.isfinite(one.grad).all()) for one in runner.model.parameters() if one.grad is not None
        ):
            runner.optimizer.step()


class Replaces(OptimizerHook):
    """A loss that is not finite is replaced, so that every rank still takes part in DDP."""

    def after_train_iter(self, runner: Any) -> None:
        loss = runner.outputs["loss"]
        if not bool(torch.isfinite(loss)):
            loss = sum(one.sum() for one in runner.model.parameters()) * 0
        runner.optimizer.zero_grad()
        loss.backward()
        runner.optimizer.step()


class Cleans(OptimizerHook):
    """What is not finite in a gradient becomes 0 before the step."""

    def after_train_iter(self, runner: Any) -> None:
        runner.optimizer.zero_grad()
        runner.outputs["loss"].backward()
        for one in runner.model.parameters():
            if one.grad is not None:
                torch.nan_to_num_(one.grad, 0.0, 0.0, 0.0)
        runner.optimizer.step()


def scaling(kind: type, **settings: Any) -> Any:
    hook = kind(**settings)
    hook.loss_scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    return hook


HOOKS = {
    "plain": OptimizerHook,
    "clipped": lambda: OptimizerHook(grad_clip={"max_norm": 35, "norm_type": 2}),
    "accumulated": lambda: GradientCumulativeOptimizerHook(cumulative_iters=2),
    "scaled": lambda: scaling(Fp16OptimizerHook, grad_clip={"max_norm": 35}),
    "scaled-accumulated": lambda: scaling(GradientCumulativeFp16OptimizerHook, cumulative_iters=2),
    "protected": ProtectsItself,
    "replaced": Replaces,
    "cleaned": Cleans,
}


class Loss(BaseModel):
    """What mmengine asks of a model."""

    def __init__(self, habit: str) -> None:
        super().__init__()
        self.inner = Model(habit)

    def forward(self, x: torch.Tensor, bad: bool, mode: str = "loss", **_: Any) -> Any:
        return {"loss": self.inner(x, bad)}


class Scaled(AmpOptimWrapper):
    """Without the GPU that it asks for."""

    def __init__(self, **settings: Any) -> None:
        OptimWrapper.__init__(self, **settings)
        self.loss_scaler, self._scale_update_param = torch.amp.GradScaler("cpu", init_scale=4.0), None

    optim_context = OptimWrapper.optim_context


WRAPPERS: dict[str, Any] = {
    "plain": OptimWrapper,
    "clipped": partial(OptimWrapper, clip_grad={"max_norm": 35}),
    "accumulated": partial(OptimWrapper, accumulative_counts=2),
    "scaled": partial(Scaled, clip_grad={"max_norm": 35}),
    "scaled-accumulated": partial(Scaled, accumulative_counts=2),
}


def by_mmengine(module: Loss, wrapper: str, loop: str, batches: list[Any], *, unused: bool) -> Any:
    """Its runner, that is yet to train."""
    ddp = {"type": "MMDistributedDataParallel", "device_ids": None, "find_unused_parameters": unused}
    os.environ["LOCAL_RANK"] = str(RANK)
    os.environ["MMENGINE"] = count = str(int(os.environ.get("MMENGINE", "0")) + 1)
    epochs = {"type": "EpochBasedTrainLoop", "max_epochs": 1}
    return Runner(
        model=module,
        work_dir=str(Path(os.environ.get("TRAINRELAY_HOOK", "none")).parent / "work_dir"),
        train_dataloader=DataLoader(batches, collate_fn=lambda found: found[0]),  # type: ignore[arg-type]
        train_cfg=epochs if loop == "epochs" else {"type": "IterBasedTrainLoop", "max_iters": ITERATIONS},
        optim_wrapper=WRAPPERS[wrapper](optimizer=torch.optim.AdamW(module.parameters(), lr=1e-2)),
        default_hooks=dict.fromkeys(("checkpoint", "logger", "sampler_seed")),
        launcher="pytorch" if dist.is_initialized() else "none",
        cfg={"model_wrapper_cfg": ddp},
        log_level="CRITICAL",
        default_scope=None,
        experiment_name=f"hooked-{count}",
    )


def batch(number: int) -> dict[str, Any]:
    torch.manual_seed(number * 10 + RANK)
    bad = number == BAD and (RANK == WORLD - 1 or not dist.is_initialized())
    meta = DataContainer([[{0: {"sample_idx": f"s{number}-{RANK}"}}]], cpu_only=True)
    return {"x": torch.randn(2, 4), "bad": bad, "img_metas": meta}


def play(case: str) -> dict[str, Any]:
    """CASE is habit:hook:runner[:unused][:clean][:bare]; the last rank has the bad batch, unless `clean`."""
    habit, hook, kind, *words = case.split(":")
    if kind.startswith("mmengine-"):
        return play_mmengine(case, habit, hook, kind[len("mmengine-") :], words)
    module = Stepping(habit)
    model: Any = module
    if dist.is_initialized():
        model = Ddp(module, find_unused_parameters="unused" in words)
    elif "unused" not in words:
        module.inner.unused.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    runner_class = {"epochs": EpochBasedRunner, "iterations": IterBasedRunner}[kind]
    most = {"max_epochs": 1} if kind == "epochs" else {"max_iters": ITERATIONS}
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.CRITICAL)
    runner = runner_class(model, optimizer=optimizer, logger=logger, meta={}, **most)
    runner.register_hook(HOOKS[hook]())
    batches = [batch(number) for number in range(1, ITERATIONS + 1)]
    if "clean" in words:
        batches = [{**one, "bad": False} for one in batches]
    base, wrapped = runner_class.__mro__[1], runner_class.__mro__[1].call_hook
    if "bare" in words and hasattr(wrapped, "__wrapped__"):
        base.call_hook = wrapped.__wrapped__
    try:
        runner.run([batches], [("train", 1)])
        end, said = "done", ""
    except Exception as error:  # noqa: BLE001
        end, said = type(error).__name__, str(error)
    base.call_hook = wrapped
    return outcome(case, end, said, runner)


def play_mmengine(case: str, habit: str, hook: str, loop: str, words: list[str]) -> dict[str, Any]:
    """The same with its runner."""
    module = Loss(habit)
    if not dist.is_initialized():
        module.inner.unused.requires_grad_(False)
    batches = [batch(number) for number in range(1, ITERATIONS + 1)]
    for one in batches:
        meta = one.pop("img_metas").data[0][0][0]
        one["data_samples"] = [types.SimpleNamespace(metainfo={"img_id": meta["sample_idx"]})]
    runner = by_mmengine(module, hook, loop, batches, unused="unused" in words)
    try:
        runner.train()
        end, said = "done", ""
    except Exception as error:  # noqa: BLE001
        end, said = type(error).__name__, str(error)
    return outcome(case, end, said, runner)


def outcome(case: str, end: str, said: str, runner: Any) -> dict[str, Any]:
    weights = torch.cat([one.detach().reshape(-1) for one in runner.model.parameters()])
    return {
        "case": case,
        "end": end,
        "said": said,
        "iterations": runner.iter,
        "finite": bool(torch.isfinite(weights).all()),
        "weights": weights.tolist(),
        "seen": taken(),
    }


@torch.jit.script
def scripted(x: torch.Tensor) -> torch.Tensor:
    """What the hook wraps can still be compiled."""
    return torch.nan_to_num(x)


def taken() -> Any:
    """What the hook wrote down in this case; it is removed for the next one."""
    path = Path(os.environ.get("TRAINRELAY_HOOK", "none")).with_name(f"not-finite-{RANK}.json")
    if not path.exists():
        return None
    said = json.loads(path.read_text())
    path.unlink()
    return said


def main() -> None:
    torch.set_num_threads(1)
    assert float(scripted(torch.tensor(float("nan")))) == 0.0
    both = sys.argv.index("--")
    for case in sys.argv[1:both] if RANK == 0 else []:
        print("CASE " + json.dumps(play(case)), flush=True)
    dist.init_process_group("gloo")
    for case in sys.argv[both + 1 :]:
        print("CASE " + json.dumps(play(case)), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
