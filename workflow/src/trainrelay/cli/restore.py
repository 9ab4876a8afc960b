"""`trainrelay restore`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured, named_stage
from trainrelay.operations.restore import restore_stage


def run(arguments: argparse.Namespace) -> None:
    """Move it back, or nothing."""
    restore_stage(named_stage(configured(arguments), arguments.where), arguments.number)
