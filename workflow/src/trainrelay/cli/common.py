"""What several verbs need: the config of the command line, and the stage it names."""

from __future__ import annotations

import argparse

from trainrelay.cli.arguments import run_and_stage
from trainrelay.config import Config, load_config
from trainrelay.training.context import StageContext


def configured(arguments: argparse.Namespace) -> Config:
    """The config that the command line names."""
    return load_config(arguments.configfile)


def named_stage(config: Config, where: str) -> StageContext:
    """RUN/STAGE of the command line."""
    known = {run: list(config.runs[run].stages) for run in config.runs}
    return StageContext(config, *run_and_stage(where, known))
