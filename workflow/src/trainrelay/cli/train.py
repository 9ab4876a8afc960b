"""`trainrelay train`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured, named_stage
from trainrelay.operations.train import train_stage


def run(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet; every end but a complete training raises."""
    train_stage(named_stage(configured(arguments), arguments.where))
