"""One module per trainer kind: argv, environment, what it prints, what it leaves (pure)."""

from collections.abc import Mapping

from trainrelay.trainers.base import (
    Launch,
    LaunchRequest,
    Observation,
    Option,
    ResumeSeen,
    StepSeen,
    Switch,
    Trainer,
    TrainerConfig,
    meant,
    option_text,
)
from trainrelay.trainers.ladder import RUNGS, Rung
from trainrelay.trainers.metriclogger import MetricLogger
from trainrelay.trainers.mmcv import Mmcv
from trainrelay.trainers.several_nodes import on_each_node, srun
from trainrelay.trainers.torchrun import checkpoint_files, environment, hidden, launcher

TRAINERS: Mapping[str, Trainer] = {trainer.kind: trainer for trainer in (Mmcv(), MetricLogger())}

__all__ = [
    "RUNGS",
    "TRAINERS",
    "Launch",
    "LaunchRequest",
    "Observation",
    "Option",
    "ResumeSeen",
    "Rung",
    "StepSeen",
    "Switch",
    "Trainer",
    "TrainerConfig",
    "checkpoint_files",
    "environment",
    "hidden",
    "launcher",
    "meant",
    "on_each_node",
    "option_text",
    "srun",
]
