"""A model and its data, each as small as mmcv's IterBasedRunner and EvalHook take them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

time.sleep = lambda _: None  # type: ignore[assignment]  # mmcv sleeps where its data begins again
try:
    import torchvision  # noqa: F401
except ImportError:  # mmcv.runner insists on one
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    sys.modules["torchvision"].__version__ = "0.0"  # type: ignore[attr-defined]

from mmcv.runner import HOOKS, BaseModule, Hook


class ToyModel(BaseModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.decode_head = nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor, return_loss: bool = True) -> Any:
        error = (self.decode_head(torch.tanh(self.backbone(x))) - y).abs()
        return error.mean() if return_loss else error.flatten().tolist()

    def train_step(self, data: dict[str, torch.Tensor], _: Any) -> dict[str, Any]:
        loss = self(**data)
        logged = {"decode.loss_near": loss.item() / 2, "decode.loss_far": loss.item() / 2}
        return {"loss": loss, "log_vars": {**logged, "loss": loss.item()}, "num_samples": len(data["x"])}


class ToyData(Dataset):
    def __init__(self, length: int) -> None:
        x = torch.randn(length, 8, generator=torch.Generator().manual_seed(0))
        self._samples = [{"x": one, "y": one.sum().sin().reshape(1)} for one in x]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._samples[index]

    def evaluate(self, results: list[float], logger: Any = None) -> dict[str, float]:
        return {"mIoU": 1 / (1 + sum(results) / len(results))}


@HOOKS.register_module()
class Injected(Hook):
    """Kills a rank before the iteration that the file at PLAN says, once."""

    def before_train_iter(self, runner: Any) -> None:
        plan = Path(os.environ.get("PLAN") or "no plan")
        said = json.loads(plan.read_text()) if plan.is_file() else {}
        if said.get("at") == [runner.rank, runner.iter + 1]:
            plan.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
