"""Real checkpoints, written by torch and mmcv."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")


@pytest.fixture
def trained() -> tuple[Any, Any]:
    """A model after one optimizer step, so that Adam has its moments."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def mmcv_style(trained: tuple[Any, Any]) -> Callable[..., dict[str, Any]]:
    """The dictionary that mmcv saves; keyword arguments replace its parts."""
    model, optimizer = trained

    def make(epoch: int = 2, iteration: int = 20, **parts: Any) -> dict[str, Any]:
        meta = {"epoch": epoch, "iter": iteration, "env_info": "é\n", "hook_msgs": {"best": np.float32(1)}}
        whole = {"meta": meta, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
        return whole | parts

    return make


@pytest.fixture
def saved(tmp_path: Path, mmcv_style: Callable[..., dict[str, Any]]) -> Path:
    """A sound mmcv-style checkpoint of epoch 2, iteration 20."""
    path = tmp_path / "epoch_2.pth"
    torch.save(mmcv_style(), path)
    return path


@pytest.fixture
def mmcv_runner() -> Any:
    """mmcv.runner, which insists on a torchvision that CPU installations may lack."""
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        stand_in = types.ModuleType("torchvision")
        stand_in.__version__ = "0.0"  # type: ignore[attr-defined]
        sys.modules["torchvision"] = stand_in
    return pytest.importorskip("mmcv.runner")
