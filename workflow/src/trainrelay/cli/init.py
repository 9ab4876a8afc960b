"""`trainrelay init`."""

from __future__ import annotations

import argparse

from trainrelay.operations.init import PROFILES, init
from trainrelay.system.say import answer


def run(arguments: argparse.Namespace) -> None:
    """Write the files, and say what comes next."""
    written = init(arguments.folder, arguments.template)
    for name in written:
        answer(f"{arguments.folder / name}")
    for name in (name for name in PROFILES if name not in written):
        answer(f"{arguments.folder / name} was there and stays as it is; use --profile profiles/{name}")
    answer(
        "Edit config.yaml, and site.yaml for Slurm (let git ignore site.yaml, runs/ and .snakemake/); then"
        " run: trainrelay plan, trainrelay check, snakemake --profile local (or slurm)"
    )
