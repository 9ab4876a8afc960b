"""`trainrelay submit`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from trainrelay.cli.common import configured
from trainrelay.cli.controller_job import job_of, names_a_config
from trainrelay.operations.submit import log_of, refuse_submission, submit
from trainrelay.system.hints import DEFAULT_CONFIGFILE
from trainrelay.system.say import answer


def run(arguments: argparse.Namespace) -> None:
    """Submit the controller, and say how to follow and to stop it; Refusal where one is there already."""
    config, configfile = configured(arguments), arguments.configfile
    refuse_submission(config, arguments.snakemake)
    job = job_of(arguments)
    Path(config.out).mkdir(parents=True, exist_ok=True)
    job_id = submit(job)
    named = [] if configfile == DEFAULT_CONFIGFILE else ["--configfile", str(configfile)]
    answer(f"job {job_id} runs the workflow; it requeues itself at its time limit")
    if names_a_config(arguments.snakemake):
        answer("  note    the --configfile behind -- is read again at each start of this job")
    answer(f"  log     {log_of(config, job_id)}")
    answer(f"  follow  {shlex.join(['trainrelay', 'watch', *named])}")
    answer(f"  stop    scancel {job_id}   (the trainings save and end; submit again to resume)")
