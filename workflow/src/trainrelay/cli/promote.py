"""`trainrelay promote`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured, named_stage
from trainrelay.operations.promote import promote_stage


def run(arguments: argparse.Namespace) -> None:
    """Promote a stage's checkpoint."""
    promote_stage(named_stage(configured(arguments), arguments.where))
