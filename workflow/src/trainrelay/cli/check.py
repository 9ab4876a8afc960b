"""`trainrelay check`."""

from __future__ import annotations

import argparse
from datetime import datetime

from trainrelay.cli.common import configured, named_stage
from trainrelay.config import Config
from trainrelay.errors import UserError
from trainrelay.operations.check import Where, checks


def run(arguments: argparse.Namespace) -> None:
    """Print a line per check; UserError where something is to be mended."""
    config = configured(arguments)
    where = [named_stage(config, arguments.where)] if arguments.where else every_stage(config)
    mended = 0
    for label, found in checks(config, where, datetime.now()):
        mended += found.kind == "mend"
        print(found.line(label), flush=True)
    if mended:
        raise UserError(f"{mended} to mend, see above; then type the same again")


def every_stage(config: Config) -> list[Where]:
    return [(name, stage) for name in config.runs for stage in config.in_order(name)]
