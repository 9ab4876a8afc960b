"""`trainrelay submit`: the Snakemake controller as a small job, for login nodes that end long processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from trainrelay.config import Config, load_site
from trainrelay.controller.job import ControllerJob, job_script, log_name, of_folder, sbatch_options
from trainrelay.controller.locks import lock_state
from trainrelay.errors import Refusal, SlurmError, UserError
from trainrelay.slurm import own_defaults
from trainrelay.slurm.ask import installed, live_jobs, sbatch
from trainrelay.slurm.cluster import partitions
from trainrelay.system.files import write_bytes
from trainrelay.system.say import say

_DAY_MIN = 1440  # any limit would do: at it the job requeues itself
# Snakemake took 0.1 GB for the demo (measured); promote, analyze and report run beside it.
_MEM_GB = 4.0
_SNAKEFILES = ("Snakefile", "workflow/Snakefile")


def refuse_submission(config: Config, snakemake: Sequence[str]) -> None:
    """UserError where a job could not run Snakemake with these arguments; Refusal where one does already."""
    if not installed():
        raise UserError(
            "there is no sbatch on this machine: run the same command on a login node of the cluster, or"
            " train here with snakemake --profile local"
        )
    named = any(word.startswith(("-s", "--snakefile")) for word in snakemake)
    if not named and not any(Path(path).is_file() for path in _SNAKEFILES):
        raise UserError("no Snakefile in this folder; run the same command where you would run snakemake")
    try:
        live = live_jobs()
    except SlurmError as error:
        advice = "run trainrelay check, try again later, or train here with snakemake --profile local"
        raise SlurmError(f"Slurm does not answer ({error}); nothing was submitted: {advice}") from None
    if ours := of_folder(str(Path.cwd()), live):
        job = ours[0]
        what = f"job {job.job_id} waits to run the workflow of this folder ({job.state}: {job.reason})"
        if job.nodes:
            what = f"job {job.job_id} runs the workflow of this folder already ({job.state}, on {job.nodes})"
        raise Refusal(
            f"{what}; nothing was submitted. its log: {log_of(config, job.job_id)}; follow: trainrelay watch;"
            f" stop: scancel {job.job_id}"
        )
    if lock_state("", [job.job_id for job in live]) == "held":
        raise Refusal(
            "a snakemake has locked this folder, so nothing was submitted; if none runs any more, run:"
            " snakemake --unlock"
        )


def log_of(config: Config, job_id: str) -> str:
    """Where a controller job's log is."""
    return str(Path(config.out) / log_name(job_id))


def submit(job: ControllerJob) -> str:
    """The new job's id; SlurmError says why there is none."""
    if unseen := own_defaults(os.environ):
        say(
            f"note: {', '.join(unseen)} of your environment is not used; site.yaml says what the jobs ask for"
        )
    *options, script = sbatch_options(job)
    write_bytes(Path(script), job_script(job).encode(errors="surrogateescape"))
    return sbatch(options, script)


def controller_job(
    config: Config, command: Sequence[str] = (), first: str = "", after: str | None = None
) -> ControllerJob:
    """The job that runs `trainrelay` with `command` behind the shell line `first`, after another job."""
    site = load_site()
    own = site.controller
    partition = own.partition or site.partition
    return ControllerJob(
        workdir=str(Path.cwd()),
        python=sys.executable,
        log_folder=config.out,
        command=tuple(command),
        time_min=own.time_min or _longest_min(partition),
        mem_gb=own.mem_gb or _MEM_GB,
        partition=partition,
        account=site.account,
        qos=own.qos or site.qos,
        setup=(first, *site.setup),
        after=after,
    )


def _longest_min(partition: str | None) -> int:
    """A day, or the partition's own limit as far as we can see it."""
    try:
        known = partitions()
    except SlurmError:
        return _DAY_MIN
    limit = next((p.max_time_min for p in known if (p.name == partition if partition else p.default)), None)
    return min(_DAY_MIN, limit or _DAY_MIN)
