"""Loads an initial checkpoint in the ways of real trainers, each in a fork, and does one optimizer step.

initial_loads.py FOLDER CASE...      the note of each is in FOLDER/CASE/hook; prints how they ended
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

try:
    import torchvision  # noqa: F401
except Exception:  # noqa: BLE001 - whatever a torchvision without CUDA raises
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    sys.modules["torchvision"].__version__ = "0.0"  # type: ignore[attr-defined]

from mmcv.runner import load_checkpoint

from trainrelay_hook import files, initial_weights

HEADS = ("occ_head", "motion_head", "planning_head")


class Model(nn.Module):
    """As UniAD's stages: a backbone and tracks in both, other heads in the second one."""

    def __init__(self, *heads: str, outputs: int = 4) -> None:
        super().__init__()
        self.img_backbone = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8))
        self.seg_head = nn.Linear(8, outputs)
        for name in heads:
            self.add_module(name, nn.Sequential(nn.Linear(8, 8), nn.Linear(8, outputs)))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        found = self.img_backbone(batch)
        return sum(head(found).sum() for name, head in self.named_children() if "head" in name)  # type: ignore[return-value]


def read(path: str) -> Any:
    return torch.load(path, map_location="cpu")["state_dict"]


def merged(path: str) -> nn.Module:
    """What a model shares with the file by name and shape, over its own."""
    model = Model(outputs=6)
    own = model.state_dict()
    own.update({name: one for name, one in read(path).items() if own[name].shape == one.shape})
    model.load_state_dict(own)
    return model


def filtered(path: str) -> nn.Module:
    model = Model(*HEADS, outputs=6)
    own = model.state_dict()
    kept = {name: one for name, one in read(path).items() if own[name].shape == one.shape}
    model.load_state_dict(kept, strict=False)
    return model


def loaded(model: nn.Module, state: Any, **how: Any) -> nn.Module:
    model.load_state_dict(state, **how)
    return model


def of_mmcv(model: nn.Module, path: str) -> nn.Module:
    load_checkpoint(model, path, map_location="cpu")
    return model


def with_backbone(path: str) -> nn.Module:
    """A pre-trained backbone first, which another file gives."""
    model = Model(*HEADS)
    other = Path(path).with_name("backbone.pth")
    model.img_backbone.load_state_dict(torch.load(other))
    return of_mmcv(model, path)


def backbone_alone(path: str) -> nn.Module:
    model = Model(*HEADS)
    model.img_backbone.load_state_dict(torch.load(Path(path).with_name("backbone.pth")))
    return model


def without_start(state: Any) -> dict[str, Any]:
    return {name.replace("img_backbone.", ""): one for name, one in state.items()}


def in_parts(path: str) -> nn.Module:
    model = Model(*HEADS)
    model.img_backbone.load_state_dict(without_start(read(path)), strict=False)
    return model


def by_own_code(path: str) -> nn.Module:
    model, state = Model(), read(path)
    with torch.no_grad():
        for name, one in model.named_parameters():
            one.copy_(state[name])
    return model


class Renaming(Model):
    """Knows the names of an older version, as mmcv's modules do."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in [name for name in state_dict if name.startswith("map_head.")]:
            state_dict["seg_head." + name[len("map_head.") :]] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)


def older(path: str) -> nn.Module:
    state = {name.replace("seg_head", "map_head"): one for name, one in read(path).items()}
    return loaded(Renaming(), state)


def made(path: str) -> nn.Module:
    """One tensor is made of the file's, as positions that are interpolated."""
    state = read(path)
    state["seg_head.weight"] = state["seg_head.weight"].repeat(2, 1)
    state["seg_head.bias"] = state["seg_head.bias"].repeat(2)
    return loaded(Model(outputs=8), state)


def caught(path: str) -> nn.Module:
    """A strict load fails; the trainer tries again without the rest."""
    model = Model(*HEADS)
    try:
        model.load_state_dict(read(path))
    except RuntimeError:
        model.load_state_dict(read(path), strict=False)
    return model


def copied(path: str) -> nn.Module:
    """Another module, an average of the weights, takes the file as well."""
    state = read(path)
    return loaded(Model(*HEADS), state, strict=False), loaded(Model(), state)  # type: ignore[return-value]


def wrapped(state: Any) -> dict[str, Any]:
    return {"module." + name: one for name, one in state.items()}


class Wrapped(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.module(batch)  # type: ignore[no-any-return]


CASES: dict[str, Callable[[str], Any]] = {
    "full": lambda path: loaded(Model(), read(path)),
    "partly": lambda path: loaded(Model(*HEADS), read(path), strict=False),
    "assigned": lambda path: loaded(Model(), read(path), assign=True),
    "renamed": lambda path: loaded(Model(), wrapped(read(path)), strict=False),
    "wrapped": lambda path: loaded(Wrapped(Model(*HEADS)), wrapped(read(path)), strict=False),
    "left-over": lambda path: loaded(Model().img_backbone, without_start(read(path)), strict=False),
    "half": lambda path: loaded(Model(), {name: one.double() for name, one in read(path).items()}),
    "mmcv": lambda path: of_mmcv(Model(*HEADS), path),
    "mmcv-shape": lambda path: of_mmcv(Model(outputs=6), path),
    "merged": merged,
    "filtered": filtered,
    "backbone": with_backbone,
    "backbone-alone": backbone_alone,
    "another-file": lambda path: loaded(Model(), read(str(Path(path).with_name("another.pth")))),
    "parts": in_parts,
    "own-code": by_own_code,
    "older": older,
    "made": made,
    "caught": caught,
    "copied": copied,
    "resumed": lambda path: loaded(Model(), read(path)),
}


def train(case: str, path: str) -> str:
    """How it ended after one step."""
    model = CASES[case](path)
    model = model[0] if isinstance(model, tuple) else model
    if dist.is_initialized():
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [one.detach().clone() for one in model.parameters()]
    model(torch.ones(4, 8)).sum().backward()
    try:
        optimizer.step()
    except ValueError as error:
        unchanged = all(map(torch.equal, before, model.parameters()))
        return f"{type(error).__name__}, weights {'unchanged' if unchanged else 'changed'}: {error}"
    optimizer.step()
    return "done"


def one(folder: Path, path: str, case: str, rank: int) -> None:
    """A rank, in a process of its own."""
    name, _, least = case.partition(":")
    os.environ.update({files.VARIABLE: str(folder / case / "hook/settings.json"), "RANK": str(rank)})
    settings = None if name == "resumed" else {"path": path, "match_min": float(least) if least else None}
    initial_weights._initial.settings = settings
    if name == "ranks":
        dist.init_process_group("gloo", f"file://{folder / case}/store", rank=rank, world_size=2)
        name = "mmcv"
    (folder / case / f"end-{rank}").write_text(train(name, path))


def main(folder: Path, *cases: str) -> None:
    """Each case in its own forks."""
    torch.set_num_threads(1)
    first = Model()
    state = torch.optim.SGD(first.parameters(), lr=0.1, momentum=0.9).state_dict()
    path = str(folder / "stage1.pth")
    torch.save({"meta": {}, "state_dict": first.state_dict(), "optimizer": state}, path)
    torch.save({"state_dict": Model().state_dict()}, folder / "another.pth")
    torch.save(first.img_backbone.state_dict(), folder / "backbone.pth")
    for case in cases:
        (folder / case / "hook").mkdir(parents=True)
        children = []
        for rank in range(2 if case.startswith("ranks") else 1):
            if not (child := os.fork()):
                one(folder, path, case, rank)
                os._exit(0)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children), case
    ends = {case: [end.read_text() for end in sorted((folder / case).glob("end-*"))] for case in cases}
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
