"""`trainrelay check`: what would keep a training from starting, asked before anything is submitted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from trainrelay.config import Config, Site, load_site
from trainrelay.controller.job import sbatch_options
from trainrelay.errors import SlurmError
from trainrelay.operations.submit import controller_job
from trainrelay.preflight.check_result import CheckResult, fix, note, ok
from trainrelay.preflight.cluster import (
    accounting_check,
    chain_limit,
    partition_checks,
    request_check,
    slurmctld_check,
)
from trainrelay.preflight.folders import folder_checks, mounts
from trainrelay.preflight.interpreter import interpreter_check
from trainrelay.preflight.knowledge import use_knowledge
from trainrelay.preflight.sample_log import sample_check
from trainrelay.slurm import Request
from trainrelay.slurm.ask import installed
from trainrelay.slurm.cluster import job_limits, nodes, partitions
from trainrelay.trainers import LaunchRequest, local_rank_misfit
from trainrelay.training import plan, retention, state
from trainrelay.training.code_version import NotKnown, code_version
from trainrelay.training.context import StageContext
from trainrelay.training.request import initial_path, launch_request, missing, unsupported

_INTERPRETER_DEADLINE_S = 120.0  # a first import of torch from a busy network file system takes a minute


def checks(config: Config, where: Sequence[StageContext], now: datetime) -> Iterator[tuple[str, CheckResult]]:
    """Each finding and what it is about; "": all of it."""
    for error in use_knowledge(config):
        yield "", CheckResult("fix", f"{error.source}: {'; '.join(error.problems)}")
    yield from _interpreter_checks(where)
    yield from _code_checks(where)
    plans = [plan.stage_plan(at) for at in where]
    told: dict[CheckResult, list[str]] = {}
    for planned in plans:
        for found in _stage_checks(planned.at, planned):
            told.setdefault(found, []).append(planned.at.name)
    yield from ((", ".join(names), found) for found, names in told.items())
    if not installed():
        yield "", note("there is no sbatch on this machine, so the checks of Slurm are left out")
        return
    site = load_site()
    answers = slurmctld_check(wanted=site != Site(notify=site.notify))  # that key is of no cluster
    if answers.kind != "note":
        yield from (("", found) for found in folder_checks(_folders(config, where), mounts()))
    yield "", answers
    if answers.kind == "ok":
        yield from _slurm_checks(config, plans, now)
    else:
        yield "", note("the other checks of Slurm are left out")


# ---------------------------------------------------------------------- the trainer


def _interpreter_checks(where: Sequence[StageContext]) -> Iterator[tuple[str, CheckResult]]:
    """Runs that ask the same of the same Python are asked for together."""
    asked: dict[tuple[str, ...], tuple[LaunchRequest, list[StageContext]]] = {}
    for at in (firsts := [*_first_of_each(where)]):
        request = launch_request(at)
        env = sorted(request.env.items())
        python = (*request.prefix, request.interpreter)
        how = (*python, request.launch_module, request.device, request.root, str(env))
        asked.setdefault((at.trainer.kind, *how), (request, []))[1].append(at)
    for request, ats in asked.values():
        found = interpreter_check(request, ats[0].trainer, _INTERPRETER_DEADLINE_S)
        yield ", ".join(map(_trainer_of, ats)), found
    for at in firsts:
        script, described = at.trainer_settings.script, at.trainer.described
        if script and described and not script.sample_log:
            unseen = "no sample_log: whether the lines of its log are understood is not known yet"
            yield _trainer_of(at), note(f"{unseen}; set script.sample_log to a log of such a training")
        elif script and script.sample_log and described:
            same = [one.settings.choice.best for one in where if _trainer_of(one) == _trainer_of(at)]
            best, log = filter(None, dict.fromkeys(same)), at.root / script.sample_log
            yield _trainer_of(at), sample_check(log, described(), script.progress, best)


def _first_of_each(where: Sequence[StageContext]) -> list[StageContext]:
    """The first stage of each run, and each that has its own trainer."""
    runs = {at.run: at for at in reversed(where) if at.root.is_dir() and not at.settings.trainer}
    return [at for at in where if at.root.is_dir() and (at.settings.trainer or runs.get(at.run) is at)]


def _trainer_of(at: StageContext) -> str:
    """Whose trainer it is: the stage's own, or the run's."""
    return at.name if at.settings.trainer else at.run


def _code_checks(where: Sequence[StageContext]) -> Iterator[tuple[str, CheckResult]]:
    """Whether a change of each run's code would be seen."""
    for at in {(at.run, at.root): at for at in where if at.root.is_dir()}.values():
        refuse, code = at.config.on_code_change == "refuse", code_version(at.root)
        if isinstance(code, NotKnown) and (refuse or code.failed):
            what = f"the trainer's code is {code.name}"
            how = "fix that, or set on_code_change: warn"
            yield at.run, fix(what, how) if refuse and code.failed else note(what)


def _stage_checks(at: StageContext, planned: plan.StagePlan) -> Iterator[CheckResult]:
    """Its files, and room for its checkpoints."""
    if planned.action == "nothing":
        yield ok("complete, so nothing of it is checked")
        return
    request, parent = launch_request(at), at.parent
    # The interpreter has its own check; what an earlier stage promotes comes later.
    initial = None if parent else initial_path(at)
    needed = missing(replace(request, interpreter=sys.executable, prefix=()), initial, parent)
    problems = [*needed, *at.trainer.start_problems(request, certain=True), *unsupported(at, request)]
    if planned.action == "refuse" and not problems:
        problems = list(planned.refused) or [planned.reason]
    yield from (CheckResult("fix", problem) for problem in problems)
    if not problems:
        yield ok(f"{planned.doing}; its script and config are in {request.root}")
        yield from map(note, local_rank_misfit(request, planned.launch.argv, certain=False))
        yield from map(note, at.trainer.start_problems(request, certain=False))
        yield from map(note, retention.best_may_go(at))
        facts = state.read(at)
        yield retention.room(facts)
        yield from filter(None, [retention.step_room(facts)])


# ---------------------------------------------------------------------- Slurm


def _folders(config: Config, where: Sequence[StageContext]) -> dict[str, Path]:
    """What the nodes must find where it is here, by what it is for."""
    folders = {"this folder": Path.cwd(), "out": Path(config.out).absolute()}
    for at in where:
        folders[f"checkout of {_trainer_of(at)}"] = at.root
        folders[f"work dir of {at.name}"] = at.paths.work_dir
    return folders


def _slurm_checks(
    config: Config, plans: Sequence[plan.StagePlan], now: datetime
) -> Iterator[tuple[str, CheckResult]]:
    yield "", accounting_check()
    try:
        known, machines, limits = partitions(), nodes(), job_limits()
    except SlurmError as error:
        yield "", fix(f"Slurm does not show its partitions ({error})", "ask those who run the cluster")
        return
    chains: dict[str, list[Request]] = {}
    for planned in plans:
        if planned.action != "nothing":
            chains.setdefault(planned.at.run, []).append(planned.slurm)
            found = partition_checks(planned.slurm, known, machines, limits)
            yield from ((planned.at.name, one) for one in [*found, request_check(planned.sbatch, now)])
    said = ((run, chain_limit(asked, known, limits)) for run, asked in chains.items())
    yield from ((run, note(f"with --profile slurm-chain: {what}")) for run, what in said if what)
    job = controller_job(config)
    own = request_check(sbatch_options(job)[:-1], now)
    # Not all who train submit it.
    yield "trainrelay submit", own if own.kind == "ok" else note(own.what)
