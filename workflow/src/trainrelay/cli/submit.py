"""`trainrelay submit`: the Snakemake controller as a small job, for login nodes that end long processes."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainrelay.cli.common import configured
from trainrelay.config import Config, Controller, load_site, save_snapshot
from trainrelay.controller import Order, comment_of, job_script, locked_by_another, log_name, sbatch_argv
from trainrelay.errors import Refusal, SlurmError, UserError
from trainrelay.slurm import Job, ask, installed, live_jobs, partitions, scrubbed
from trainrelay.system.hints import TYPED_VARIABLE
from trainrelay.system.say import say

_LEAST_MIN = 5  # Slurm warns up to two minutes before the limit
_DAY_MIN = 1440
_MEM_GB = 4.0
_DEFAULT_CONFIG = Path("config.yaml")
_SNAKEFILES = ("Snakefile", "workflow/Snakefile")
# A user's defaults for sbatch; the controller's job and the trainings it submits do not see them.
_OWN_DEFAULTS = ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS")


def run(arguments: argparse.Namespace) -> None:
    """Submit it, and say how to follow and to stop it; Refusal where one is there already."""
    config = configured(arguments)
    if not installed():
        raise UserError(
            "there is no sbatch on this machine: run the same command on a login node of the cluster, or"
            " train here with snakemake --profile local"
        )
    _refuse_without_snakefile(arguments.snakemake)
    _refuse_second(config)
    Path(config.out).mkdir(parents=True, exist_ok=True)
    job_id = submitted(arguments)
    print("\n".join(_told(job_id, config, arguments)))


def _refuse_without_snakefile(given: Sequence[str]) -> None:
    named = any(word.startswith(("-s", "--snakefile")) for word in given)
    if not named and not any(Path(path).is_file() for path in _SNAKEFILES):
        raise UserError("no Snakefile in this folder; run the same command where you would run snakemake")


def _refuse_second(config: Config) -> None:
    live = live_jobs(comment_of(str(Path.cwd())))
    if live:
        raise Refusal(
            f"{_at_it(live[0])}; nothing was submitted. {'; '.join(_hints(live[0].job_id, config))}"
        )
    if locked_by_another("", ()):
        raise Refusal(
            "a snakemake has locked this folder, so nothing was submitted; if none runs any more, run:"
            " snakemake --unlock"
        )


def _at_it(job: Job) -> str:
    if not job.nodes:
        return f"job {job.job_id} waits to run the workflow of this folder ({job.state}: {job.reason})"
    return f"job {job.job_id} runs the workflow of this folder already ({job.state}, on {job.nodes})"


def _told(job_id: str, config: Config, arguments: argparse.Namespace) -> Iterator[str]:
    configfile = arguments.configfile
    yield f"job {job_id} runs the workflow; it requeues itself at its time limit"
    named = [] if configfile == _DEFAULT_CONFIG else ["--configfile", str(configfile)]
    if _names_a_config(arguments):
        yield "  note    the --configfile behind -- is read again at each start of this job"
    yield f"  log     {log_of(config, job_id)}"
    yield f"  follow  {shlex.join(['trainrelay', 'watch', *named])}"
    yield f"  stop    scancel {job_id}   (the trainings save and end; submit again to resume)"


def _hints(job_id: str, config: Config) -> list[str]:
    return [f"its log: {log_of(config, job_id)}", "follow: trainrelay watch", f"stop: scancel {job_id}"]


def log_of(config: Config, job_id: str) -> str:
    """Where a controller job's log is."""
    return str(Path(config.out) / log_name(job_id))


def submitted(arguments: argparse.Namespace, after: str | None = None) -> str:
    """The new job's id; SlurmError says why there is none."""
    order = order_of(arguments, after)
    if unseen := [name for name in _OWN_DEFAULTS if name in os.environ]:
        say(
            f"note: {', '.join(unseen)} of your environment is not used; site.yaml says what the jobs ask for"
        )
    environment = {TYPED_VARIABLE: str(arguments.configfile), **scrubbed(os.environ)}
    said = ask(sbatch_argv(order), text=job_script(order), environment=environment)
    job_id = said.split("\n")[0].split(";")[0].strip()
    if not job_id.isdigit():
        raise SlurmError(f"sbatch gave no job number: {said.strip()[:200]}")
    return job_id


def order_of(arguments: argparse.Namespace, after: str | None = None) -> Order:
    """The job as the command line and site.yaml want it; UserError for what makes no sense."""
    site, config = load_site(), configured(arguments)
    mine = site.controller
    partition = arguments.partition or mine.partition or site.partition
    return Order(
        workdir=str(Path.cwd()),
        python=sys.executable,
        log_folder=config.out,
        # What is submitted now, also for the runs after a requeue.
        again=("control", *_options(arguments, save_snapshot(config)), "--", *arguments.snakemake),
        time_min=_time_min(arguments.time_min, mine, partition),
        mem_gb=_positive(arguments.mem_gb or mine.mem_gb or _MEM_GB),
        partition=partition,
        account=site.account,
        qos=mine.qos or site.qos,
        setup=site.setup,
        after=after,
    )


def _options(arguments: argparse.Namespace, config: Path) -> Iterator[str]:
    """As they were typed, for the job's own command line, with another config file."""
    yield from ("--configfile", str(config))
    for name in ("time_min", "partition", "mem_gb"):
        if (value := getattr(arguments, name)) is not None:
            yield f"--{name.replace('_', '-')}={value}"


def snakemake_arguments(arguments: argparse.Namespace) -> list[str]:
    """What was typed behind --, else the profile slurm; the config that trainrelay was given goes with it."""
    given = list(arguments.snakemake) or ["--profile", "slurm"]
    own = arguments.configfile != _DEFAULT_CONFIG and not _names_a_config(arguments)
    return [*given, *(["--configfile", str(arguments.configfile)] if own else [])]


def _names_a_config(arguments: argparse.Namespace) -> bool:
    return any(word.startswith("--configfile") for word in arguments.snakemake)


def _time_min(typed: int | None, mine: Controller, partition: str | None) -> int:
    said = typed if typed is not None else mine.time_min
    if said is None:
        return min(_DAY_MIN, _most_min(partition) or _DAY_MIN)
    if said < _LEAST_MIN:
        raise UserError(f"--time-min {said}: use at least {_LEAST_MIN}, the job needs time to start again")
    return said


def _most_min(partition: str | None) -> int | None:
    """The partition's own limit; None if there is none, or none that we can see."""
    try:
        known = partitions()
    except SlurmError:
        return None
    meant = (one for one in known if (one.name == partition if partition else one.default))
    return next((one.max_time_min for one in meant), None)


def _positive(mem_gb: float) -> float:
    if not mem_gb > 0:
        raise UserError(f"--mem-gb {mem_gb:g}: use a number of GB above 0")
    return mem_gb
