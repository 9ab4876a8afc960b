"""`trainrelay report`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured
from trainrelay.errors import UserError
from trainrelay.operations.report import tell, write_report
from trainrelay.system.say import say


def run(arguments: argparse.Namespace) -> None:
    """Write the report of one run; without a name, every run's report and the overview."""
    config = configured(arguments)
    if arguments.run is None:
        tell(config, *config.runs)
    elif arguments.run in config.runs:
        say(f"report: {write_report(config, arguments.run)}")
    else:
        names = ", ".join(config.runs)
        raise UserError(f"{arguments.run}: no such run in the config; use one of: {names}")
