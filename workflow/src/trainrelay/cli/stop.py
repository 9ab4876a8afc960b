"""`trainrelay stop`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured, named_stage
from trainrelay.operations.stop import stop_stage


def run(arguments: argparse.Namespace) -> None:
    """Ask for the stop and wait for it; UserError where nobody does it."""
    stop_stage(named_stage(configured(arguments), arguments.where))
