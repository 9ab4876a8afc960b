"""The job of `trainrelay submit`, and of the `control` in it where it continues in another job."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable
from dataclasses import replace

from trainrelay.cli.common import configured
from trainrelay.config import SITE_VARIABLE, load_site, save_snapshot
from trainrelay.controller.job import ControllerJob
from trainrelay.operations.submit import controller_job
from trainrelay.system.hints import DEFAULT_CONFIGFILE, TYPED_VARIABLE, typed


def job_of(arguments: argparse.Namespace, after: str | None = None) -> ControllerJob:
    """The job to submit, to start once job `after` has ended; UserError for what makes no sense."""
    how = {name: getattr(arguments, name) for name in ("time_min", "partition", "mem_gb")}
    given = [f"--{name.replace('_', '-')}={value}" for name, value in how.items() if value is not None]
    config = configured(arguments)
    # What is submitted now, also for the runs after a requeue.
    command = ["control", "--configfile", str(save_snapshot(config)), *given, "--", *arguments.snakemake]
    job = controller_job(config, command, **how, after=after)
    site, name = save_snapshot(load_site(), "site"), shlex.quote(str(typed(arguments.configfile)))
    return replace(job, setup=(f"export {SITE_VARIABLE}={site} {TYPED_VARIABLE}={name}", *job.setup))


def snakemake_arguments(arguments: argparse.Namespace) -> list[str]:
    """What was typed behind --, else the profile slurm; the config that trainrelay was given goes with it."""
    given = list(arguments.snakemake) or ["--profile", "slurm"]
    own = arguments.configfile != DEFAULT_CONFIGFILE and not names_a_config(given)
    return [*given, *(["--configfile", str(arguments.configfile)] if own else [])]


def names_a_config(snakemake: Iterable[str]) -> bool:
    """Whether Snakemake is given its own config, which it reads at each start."""
    return any(word.startswith("--configfile") for word in snakemake)
