"""`trainrelay restore`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured, named_stage
from trainrelay.operations.restore import restore_stage


def run(arguments: argparse.Namespace) -> None:
    """Move it back, or nothing."""
    config = configured(arguments)
    restore_stage(config, *named_stage(config, arguments.where), arguments.number)
