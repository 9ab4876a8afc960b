"""`trainrelay accept`."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured, named_stage
from trainrelay.errors import UserError
from trainrelay.operations.accept import accept_checkpoint, accept_retraining
from trainrelay.training import state


def run(arguments: argparse.Namespace) -> None:
    """Write down what is accepted and say what it now allows."""
    facts = state.read(named_stage(configured(arguments), arguments.where))
    if not arguments.reason.strip():
        raise UserError('give a reason: trainrelay accept RUN/STAGE --reason "..."')
    allows = (accept_retraining if arguments.retrain else accept_checkpoint)(facts, arguments.reason)
    print(f"{facts.name}: {allows}. Now run the snakemake command again.")
