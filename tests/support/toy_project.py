"""A stage that the toy trainer trains for real, through the functions behind the verbs, in about a second."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.supervising import TOY, Toy
from trainrelay.config import Config, StagePaths, parse, stage_paths
from trainrelay.operations.promote import promote_stage
from trainrelay.operations.train import train_stage
from trainrelay.trainers import TRAINERS, Launch, LaunchRequest
from trainrelay.training.context import StageContext

EPOCHS = 3


class ToyByRate(Toy):
    """What it saves depends on optimizer.lr, an option or in its config: a folder of templates for each."""

    kind = "mmcv"

    def __init__(self, templates: Path) -> None:
        self._templates = templates

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        rate = request.options.get("optimizer.lr", request.trainer_config.literals.get("optimizer.lr"))
        argv = [request.interpreter, "-u", str(TOY), "--work-dir", request.work_dir]
        argv += ["--templates", str(self._templates / str(rate)), "--epochs", str(request.epochs)]
        argv += ["--resume-from", request.resume_from] if request.resume_from else []
        argv += ["--habit", str(request.options["habit"])] if "habit" in request.options else []
        return Launch(tuple(argv), dict(request.env), request.root)


def write_templates(folder: Path, *rates: float) -> None:
    """epoch_1.pth to epoch_6.pth for each learning rate, as mmcv saves them."""
    torch = pytest.importorskip("torch")
    for rate in rates:
        (folder / str(rate)).mkdir(parents=True)
        for epoch in range(1, 7):
            state = {"head.weight": torch.full((2, 2), rate * epoch)}
            optimizer = {"state": {}, "param_groups": [{"lr": rate, "params": [0]}]}
            whole = {"meta": {"epoch": epoch, "iter": 3 * epoch}, "state_dict": state, "optimizer": optimizer}
            torch.save(whole, folder / str(rate) / f"epoch_{epoch}.pth")


@dataclass(frozen=True)
class ToyProject:
    """A checkout and an `out`; the stage `r/s` has a work dir of its own in the checkout."""

    checkout: Path
    out: Path
    work_dir: str | None = "work_dirs/s"

    def config(self, **stage: Any) -> Config:
        """The config; keywords are the stage's settings."""
        settings = {
            "config": "a.py",
            "epochs": EPOCHS,
            "backends": ["gloo"],
            "promotion": {"target": f"ckpts/{self.out.name}.pth"},
            **({"work_dir": self.work_dir} if self.work_dir else {}),
            **stage,
        }
        python = {"interpreter": sys.executable, "device": "cpu", "nproc_per_node": 1}
        trainer = {"kind": "mmcv", "root": str(self.checkout), **python}
        return parse({"out": str(self.out), "runs": {"r": {"trainer": trainer, "stages": {"s": settings}}}})

    def paths(self, **stage: Any) -> StagePaths:
        return stage_paths(self.config(**stage), "r", "s")

    def train(self, **stage: Any) -> None:
        train_stage(StageContext(self.config(**stage), "r", "s"))

    def promote(self, **stage: Any) -> None:
        promote_stage(StageContext(self.config(**stage), "r", "s"))

    @property
    def target(self) -> Path:
        target = self.paths().target
        assert target
        return target


def make_checkout(folder: Path, monkeypatch: pytest.MonkeyPatch, *rates: float) -> Path:
    """A checkout whose config says the first of the rates; the trainer kind mmcv is the toy."""
    checkout = folder / "checkout"
    (checkout / "tools").mkdir(parents=True)
    (checkout / "tools/train.py").touch()
    (checkout / "a.py").write_text(f"optimizer = dict(lr={rates[0]})\n")
    write_templates(folder / "templates", *rates)
    monkeypatch.setitem(TRAINERS, "mmcv", ToyByRate(folder / "templates"))
    return checkout


def arguments(**said: Any) -> argparse.Namespace:
    """What the command line hands to a verb for r/s."""
    return argparse.Namespace(**{"where": "r/s", **said})
