"""Checkpoints: the whole state of a training, written so that a kill leaves no half file."""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

torch.serialization.add_safe_globals([argparse.Namespace])  # all that a checkpoint holds beside plain data


def save(state: dict[str, Any], path: Path) -> None:
    """Write aside, sync, replace."""
    aside = path.with_name(path.name + ".tmp")
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def save_epoch(folder: Path, parts: dict[str, Any], epoch: int, args: argparse.Namespace) -> None:
    """The state after an epoch (from 0), as the newest and under its own name."""
    state = {**{name: part.state_dict() for name, part in parts.items()}, "epoch": epoch, "args": args}
    for name in ("checkpoint.pth", f"checkpoint{epoch:04}.pth"):
        save(state, folder / name)


def load(path: str) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def resume(path: str, parts: dict[str, Any]) -> int:
    """Put every part back where it was; the epoch to continue with."""
    state = load(path)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["epoch"] + 1


def load_weights(path: str, model: nn.Module) -> None:
    """The weights alone, all of them: another architecture is an error."""
    model.load_state_dict(load(path)["model"])
