"""The job of `trainrelay submit`, and of the `control` in it where it continues in another job."""

from __future__ import annotations

import argparse

from trainrelay.cli.common import configured
from trainrelay.controller import ControllerJob
from trainrelay.operations.submit import controller_job
from trainrelay.system.hints import DEFAULT_CONFIGFILE


def job_of(arguments: argparse.Namespace, after: str | None = None) -> ControllerJob:
    """The job to submit, to start once job `after` has ended; UserError for what makes no sense."""
    how = {name: getattr(arguments, name) for name in ("time_min", "partition", "mem_gb")}
    given = [f"--{name.replace('_', '-')}={value}" for name, value in how.items() if value is not None]
    command = ["control", "--configfile", str(arguments.configfile), *given, "--", *arguments.snakemake]
    return controller_job(configured(arguments), command, **how, after=after)


def snakemake_arguments(arguments: argparse.Namespace) -> list[str]:
    """What was typed behind --, else the profile slurm; the config that trainrelay was given goes with it."""
    given = list(arguments.snakemake) or ["--profile", "slurm"]
    own = arguments.configfile != DEFAULT_CONFIGFILE and "--configfile" not in given
    return [*given, *(["--configfile", str(arguments.configfile)] if own else [])]
