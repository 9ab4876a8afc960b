"""`trainrelay init`."""

from __future__ import annotations

import argparse

from trainrelay.operations.init import init
from trainrelay.system.say import answer


def run(arguments: argparse.Namespace) -> None:
    """Write the files, and say what comes next."""
    for name in init(arguments.folder, arguments.template):
        answer(f"{arguments.folder / name}")
    answer(
        "Edit config.yaml, and site.yaml for Slurm (let git ignore site.yaml, runs/ and .snakemake/); then"
        " run: trainrelay plan, trainrelay check, snakemake --profile local (or slurm)"
    )
