"""What several verbs need: the config of the command line, and the stages it names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from trainrelay.config import Config, load_config
from trainrelay.errors import UserError
from trainrelay.training.context import StageContext


def configured(arguments: argparse.Namespace) -> Config:
    """The config that the command line names."""
    return load_config(arguments.configfile)


def stage_of(arguments: argparse.Namespace) -> StageContext:
    """The stage that the command line names as RUN/STAGE."""
    return named_stage(configured(arguments), arguments.where)


def named_stage(config: Config, where: str) -> StageContext:
    """RUN/STAGE, which must be in the config."""
    stages = {at.name: at for at in every_stage(config)}
    if where not in stages:
        raise UserError(f"{where}: no such stage in the config; use one of: {', '.join(stages)}")
    return stages[where]


def named_stages(config: Config, which: Sequence[str]) -> list[StageContext]:
    """The stages meant by RUN or RUN/STAGE, each once, in the config's order; all if none is named."""
    known = every_stage(config)
    for word in which:
        if not any(word in (at.run, at.name) for at in known):
            names = ", ".join([*config.runs, *(at.name for at in known)])
            raise UserError(f"{word}: no such run or stage in the config; use one of: {names}")
    return [at for at in known if not which or {at.run, at.name}.intersection(which)]


def every_stage(config: Config) -> list[StageContext]:
    """All stages of all runs, each after the one it starts from."""
    return [StageContext(config, run, stage) for run in config.runs for stage in config.in_order(run)]
