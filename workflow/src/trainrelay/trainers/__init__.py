"""One module per trainer kind: argv, environment, what it prints, what it leaves (pure)."""

from trainrelay.progress_lines.described import LineReader, LineSeen, PatternReader
from trainrelay.trainers.argparse_config import whole_load
from trainrelay.trainers.base import (
    RUNGS,
    Follower,
    Launch,
    LaunchRequest,
    Observation,
    Option,
    ResumeSeen,
    Rung,
    StepSeen,
    Switch,
    Trainer,
    TrainerConfig,
    option_text,
)
from trainrelay.trainers.kinds import TRAINERS, trainer_of
from trainrelay.trainers.local_rank import local_rank_misfit, torch_release
from trainrelay.trainers.saved_files import (
    checkpoint_files,
    misplaced_checkpoints,
    not_understood,
)
from trainrelay.trainers.script_settings import ScriptSettings
from trainrelay.trainers.torchrun import environment, launcher, prefixed, srun

__all__ = [
    "RUNGS",
    "TRAINERS",
    "Follower",
    "Launch",
    "LaunchRequest",
    "LineReader",
    "LineSeen",
    "Observation",
    "Option",
    "PatternReader",
    "ResumeSeen",
    "Rung",
    "ScriptSettings",
    "StepSeen",
    "Switch",
    "Trainer",
    "TrainerConfig",
    "checkpoint_files",
    "environment",
    "launcher",
    "local_rank_misfit",
    "misplaced_checkpoints",
    "not_understood",
    "option_text",
    "prefixed",
    "srun",
    "torch_release",
    "trainer_of",
    "whole_load",
]
