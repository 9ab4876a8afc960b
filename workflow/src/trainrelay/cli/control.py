"""`trainrelay control`: the controller inside its job; you run `trainrelay submit`."""

from __future__ import annotations

import argparse
import sys

from trainrelay.cli.submit import snakemake_arguments, submitted
from trainrelay.controller import control
from trainrelay.system.say import say


def run(arguments: argparse.Namespace) -> None:
    """Ends as Snakemake does."""
    status = control(snakemake_arguments(arguments), lambda job_id: submitted(arguments, after=job_id), say)
    if status:
        sys.exit(status)
