"""`trainrelay overview`: all runs of the config, as one HTML page."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured
from trainrelay.operations.report import write_overview
from trainrelay.system.say import say


def run(arguments: argparse.Namespace) -> None:
    """Write the overview."""
    say(f"overview: {write_overview(configured(arguments))}")
