"""A stage's files as a finished training leaves them, written in a moment and without any training."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.mmcv_logs import write_mmcv_log
from trainrelay.config import Config, StagePaths, parse, stage_paths
from trainrelay.records import FORMAT, AttemptRecord, CheckpointFacts, FileDigest, Identity
from trainrelay.system.alive import here, stat
from trainrelay.system.files import read_record, write_json
from trainrelay.training.context import StageContext
from trainrelay.training.signature import ingredients, signature

EPOCHS, RANKS = 2, 8
WEIGHTS = b"the weights of epoch 2"


@dataclass(frozen=True)
class OnDisk:
    """One run `r` with one stage `s` below `base`; the config may be changed after the training."""

    base: Path

    def config(
        self, guard_gpu_h: float = 8.0, trainer: Mapping[str, Any] | None = None, **stage: Any
    ) -> Config:
        """The config; other keywords are the stage's settings."""
        settings = {
            "config": "a.py",
            "epochs": EPOCHS,
            "backends": ["gloo"],
            "promotion": {"target": "ckpts/s.pth"},
            "resources": {"gpu": RANKS},
            **stage,
        }
        how = {
            "kind": "mmcv",
            "root": str(self.base / "checkout"),
            "nproc_per_node": RANKS,
            **(trainer or {}),
        }
        runs = {"r": {"trainer": how, "stages": {"s": settings}}}
        return parse({"out": str(self.base / "runs"), "retrain_guard_gpu_h": guard_gpu_h, "runs": runs})

    @property
    def paths(self) -> StagePaths:
        return stage_paths(self.config(), "r", "s")

    @property
    def checkpoint(self) -> Path:
        return self.paths.work_dir / f"epoch_{EPOCHS}.pth"

    def make_checkout(self) -> None:
        """As much of a trainer as is looked for before a start."""
        (self.base / "checkout/tools").mkdir(parents=True)
        (self.base / "checkout/tools/train.py").touch()
        (self.base / "checkout/a.py").write_text("optimizer = dict(lr=0.1)\n")

    def train(
        self,
        hours: float = 1.0,
        log: dict[str, Any] | None = None,
        weights: bytes = WEIGHTS,
        code: str | None = None,
    ) -> None:
        """What one complete attempt of so many hours leaves; `log` as write_mmcv_log takes it."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self.checkpoint.write_bytes(weights)
        attempt = self.paths.folder / "attempts/001"
        attempt.mkdir(parents=True)
        options = {"epochs": EPOCHS, "gpus": RANKS, **(log or {})}
        record = self._attempt(write_mmcv_log(attempt / "trainer.log", **options), hours)
        signed = signature(ingredients(StageContext(self.config(), "r", "s")), EPOCHS)
        found = {"final_checkpoint": self.facts(weights), "code": code, "signature": signed}
        write_json(attempt / "attempt.json", record.model_copy(update=found))
        self.identify()

    def change(self, **update: object) -> None:
        """The attempt's record says this instead."""
        path = self.paths.folder / "attempts/001/attempt.json"
        record = read_record(path, AttemptRecord)
        assert record is not None
        write_json(path, record.model_copy(update=update))

    def identify(self) -> None:
        """stage.json says that what lies here was trained from the checkout as it is now."""
        parts = ingredients(StageContext(self.config(), "r", "s"))
        before = read_record(self.paths.identity, Identity)
        owner = before.owner if before else None
        identity = Identity(
            format=FORMAT, run="r", stage="s", ingredients=parts, initial_checkpoint=None, owner=owner
        )
        write_json(self.paths.identity, identity)

    def _attempt(self, log: Path, hours: float) -> AttemptRecord:
        return AttemptRecord(
            number=1,
            tag="a tag",
            host=socket.gethostname(),
            supervisor_pid=os.getpid(),
            place=here(),
            supervisor_ticks=stat(os.getpid()).ticks,
            argv=[],
            env={},
            cwd="/",
            log=str(log),
            backend="gloo",
            world_size=RANKS,
            epochs=EPOCHS,
            resumed_from=None,
            started_s=0.0,
            ended_s=hours * 3600,
            end="done",
        )

    def facts(self, weights: bytes = WEIGHTS) -> CheckpointFacts:
        """What was read from the last checkpoint."""
        digest = hashlib.sha256(weights).hexdigest()
        return CheckpointFacts(
            file=FileDigest(path=str(self.checkpoint), sha256=digest, size=len(weights)),
            epoch=EPOCHS,
            iteration=200,
            tensors=1,
            parameters=4,
            finite=True,
        )
