"""A model, its data and a metric, each as small as mmengine's registries take them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch.utils.data import Dataset


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.backbone = torch.nn.Linear(8, width)
        self.head = torch.nn.Linear(width, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor, mode: str = "tensor") -> Any:
        predicted = self.head(torch.tanh(self.backbone(x)))
        if mode == "loss":
            return {
                "loss_near": (predicted - y).abs().mean(),
                "loss_far": (predicted - y).square().mean(),
                "acc": (predicted * y > 0).float().mean(),
            }
        return (
            [{"error": float(error)} for error in (predicted - y).abs()] if mode == "predict" else predicted
        )


@DATASETS.register_module()
class ToyData(Dataset):
    def __init__(self, length: int = 16) -> None:
        x = torch.randn(length, 8, generator=torch.Generator().manual_seed(0))
        self._samples = [{"x": one, "y": one.sum().sin().reshape(1)} for one in x]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self._samples[index]


@METRICS.register_module()
class ToyError(BaseMetric):
    default_prefix = "toy"

    def process(self, _: Any, data_samples: Any) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        return {"error": sum(one["error"] for one in results) / len(results)}


@HOOKS.register_module()
class Injected(Hook):
    """Kills a rank at the place that the file at PLAN says, once."""

    priority = "LOWEST"

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        plan = Path(os.environ.get("PLAN") or "no plan")
        said = json.loads(plan.read_text()) if plan.is_file() else {}
        if said.get("at") != [runner.rank, runner.epoch + 1, batch_idx + 1]:
            return
        plan.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
