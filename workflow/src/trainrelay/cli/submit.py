"""`trainrelay submit`, and `trainrelay control`, which its job runs."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from trainrelay.cli.common import configured
from trainrelay.config import SITE_VARIABLE, load_site, save_snapshot
from trainrelay.controller.job import ControllerJob, sbatch_options
from trainrelay.controller.run import control as run_controller
from trainrelay.operations.submit import controller_job, log_of, refuse_submission
from trainrelay.operations.submit import submit as submit_job
from trainrelay.preflight.knowledge import refuse_wrong_knowledge
from trainrelay.system.files import make_folder
from trainrelay.system.hints import DEFAULT_CONFIGFILE, TYPED_VARIABLE, typed
from trainrelay.system.say import answer, say


def submit(arguments: argparse.Namespace) -> None:
    """Submit the controller, and say how to follow and to stop it; Refusal where one is there already."""
    config, configfile = configured(arguments), arguments.configfile
    refuse_wrong_knowledge(config)
    refuse_submission(config, arguments.snakemake)
    job = job_of(arguments)
    make_folder(Path(config.out))
    job_id = submit_job(job)
    named = [] if configfile == DEFAULT_CONFIGFILE else ["--configfile", str(configfile)]
    answer(f"job {job_id} runs the workflow; it requeues itself at its time limit")
    if _names_a_config(arguments.snakemake):
        answer("  note    the --configfile behind -- is read again at each start of this job")
    answer(f"  sbatch  {shlex.join(sbatch_options(job))}")
    answer(f"  log     {log_of(config, job_id)}")
    answer(f"  follow  {shlex.join(['trainrelay', 'watch', *named])}")
    answer(f"  stop    scancel {job_id}   (the trainings save and end; submit again to resume)")


def control(arguments: argparse.Namespace) -> None:
    """The controller inside its job; ends as Snakemake does."""

    def resubmit(job_id: str) -> str:
        return submit_job(job_of(arguments, after=job_id))

    if status := run_controller(snakemake_arguments(arguments), resubmit, say):
        sys.exit(status)


def job_of(arguments: argparse.Namespace, after: str | None = None) -> ControllerJob:
    """The job to submit, to start once job `after` has ended."""
    # What is submitted now, also for the runs after a requeue.
    config = configured(arguments)
    command = ["control", "--configfile", str(save_snapshot(config)), "--", *arguments.snakemake]
    site, name = save_snapshot(load_site(), "site"), shlex.quote(str(typed(arguments.configfile)))
    first = f"export {SITE_VARIABLE}={site} {TYPED_VARIABLE}={name}"
    return controller_job(config, command, first, after)


def snakemake_arguments(arguments: argparse.Namespace) -> list[str]:
    """What was typed behind --, else the profile slurm; the config that trainrelay was given goes with it."""
    given = list(arguments.snakemake) or ["--profile", "slurm"]
    own = arguments.configfile != DEFAULT_CONFIGFILE and not _names_a_config(given)
    return [*given, *(["--configfile", str(arguments.configfile)] if own else [])]


def _names_a_config(snakemake: Iterable[str]) -> bool:
    """Whether Snakemake is given its own config, which it reads at each start."""
    return any(word.startswith("--configfile") for word in snakemake)
