"""`trainrelay check`."""

from __future__ import annotations

import argparse
from datetime import datetime

from trainrelay.cli.common import configured, named_stages
from trainrelay.errors import UserError
from trainrelay.operations.check import checks
from trainrelay.system.say import answer


def run(arguments: argparse.Namespace) -> None:
    """Print one line per check; UserError if there is something to fix."""
    config = configured(arguments)
    where = named_stages(config, arguments.which)
    problems = 0
    for label, found in checks(config, where, datetime.now()):
        problems += found.kind == "fix"
        answer(found.line(label))
    if problems:
        count = f"{problems} problem{'s' * (problems > 1)} to fix"
        raise UserError(f"{count} (see above); then run the same command again")
