"""`trainrelay report` and `trainrelay overview`: the page of one run, and that of all."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured
from trainrelay.errors import UserError
from trainrelay.operations.report import write_overview, write_report, write_reports
from trainrelay.system.say import say


def run(arguments: argparse.Namespace) -> None:
    """Write the report of one run; without a name, every run's report and the overview."""
    config = configured(arguments)
    if arguments.run is None:
        write_reports(config, *config.runs)
    elif arguments.run in config.runs:
        say(f"report: {write_report(config, arguments.run)}")
    else:
        names = ", ".join(config.runs)
        raise UserError(f"{arguments.run}: no such run in the config; use one of: {names}")


def overview(arguments: argparse.Namespace) -> None:
    """Write the overview."""
    say(f"overview: {write_overview(configured(arguments))}")
