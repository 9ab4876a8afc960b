"""One stage of one run, as the config asks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from trainrelay.config import Config, Stage, StagePaths, TrainerSettings, stage_paths, trainer_root
from trainrelay.system.files import read_once
from trainrelay.trainers import Trainer, TrainerConfig


@dataclass(frozen=True)
class StageContext:
    """What the config and the trainer's files say of a stage; what is on disk is read by `state.read`.

    The trainer's files are read once: a phase that must see them as they are by then makes another context.
    """

    config: Config
    run: str
    stage: str

    @property
    def name(self) -> str:
        """RUN/STAGE."""
        return f"{self.run}/{self.stage}"

    @property
    def settings(self) -> Stage:
        """The stage's section of the config."""
        return self.config.stage(self.run, self.stage)

    @property
    def trainer_settings(self) -> TrainerSettings:
        """How its trainer is started."""
        return self.config.runs[self.run].trainer_of(self.stage)

    @property
    def trainer(self) -> Trainer:
        """Its trainer kind."""
        return self.trainer_settings.counting(self.settings.iters)

    @property
    def saves_steps(self) -> bool:
        """Whether the hook is asked for step checkpoints."""
        asked = self.settings
        return self.trainer.has_steps and asked.hook and asked.checkpoint_interval_min > 0

    @property
    def root(self) -> Path:
        """The trainer's checkout, absolute."""
        return trainer_root(self.config, self.run, self.stage)

    @cached_property
    def paths(self) -> StagePaths:
        """Its files."""
        return stage_paths(self.config, self.run, self.stage)

    @property
    def parent(self) -> StageContext | None:
        """The stage whose promoted checkpoint it starts from."""
        earlier = self.settings.init_from
        return None if earlier is None else StageContext(self.config, self.run, earlier)

    @cached_property
    def trainer_file(self) -> TrainerConfig:
        """What the trainer's config says, from the checkout."""
        return read_once(self.trainer.read_config, self.root, self.settings.config)

    @cached_property
    def trainer_config(self) -> TrainerConfig:
        """What it says; the stage's options win over its literals."""
        literals = {**self.trainer_file.literals, **self.settings.options}
        return replace(self.trainer_file, literals=literals)
