"""What several verbs need: the config of the command line, and the stage it names."""

from __future__ import annotations

import argparse

from trainrelay.cli.arguments import run_and_stage
from trainrelay.config import Config, load_config


def configured(arguments: argparse.Namespace) -> Config:
    """The config that the command line names."""
    return load_config(arguments.configfile)


def named_stage(config: Config, where: str) -> tuple[str, str]:
    """RUN/STAGE of the command line."""
    return run_and_stage(where, {run: list(config.runs[run].stages) for run in config.runs})
