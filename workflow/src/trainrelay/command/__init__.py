"""One module per trainer kind: argv, environment, what it prints, what it leaves (pure)."""

from collections.abc import Mapping

from trainrelay.command.base import (
    Launch,
    LaunchRequest,
    Observation,
    ResumeSeen,
    StepSeen,
    Trainer,
    TrainerConfig,
)
from trainrelay.command.ladder import RUNGS, Rung
from trainrelay.command.mmcv import Mmcv

TRAINERS: Mapping[str, Trainer] = {trainer.kind: trainer for trainer in (Mmcv(),)}

__all__ = [
    "RUNGS",
    "TRAINERS",
    "Launch",
    "LaunchRequest",
    "Observation",
    "ResumeSeen",
    "Rung",
    "StepSeen",
    "Trainer",
    "TrainerConfig",
]
