"""`trainrelay control`: the controller inside its job; you run `trainrelay submit`."""

from __future__ import annotations

import argparse
import sys

from trainrelay.cli.controller_job import job_of, snakemake_arguments
from trainrelay.controller.run import control
from trainrelay.operations.submit import submit
from trainrelay.system.say import say


def run(arguments: argparse.Namespace) -> None:
    """Ends as Snakemake does."""

    def resubmit(job_id: str) -> str:
        return submit(job_of(arguments, after=job_id))

    if status := control(snakemake_arguments(arguments), resubmit, say):
        sys.exit(status)
