"""`trainrelay check`: what would keep a training from starting, asked before anything is submitted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from trainrelay.config import Config, load_site, root, stage_paths
from trainrelay.errors import SlurmError
from trainrelay.preflight import (
    Found,
    Needs,
    account_check,
    answers_check,
    asked_of,
    fix,
    folder_checks,
    interpreter_check,
    mounts,
    note,
    ok,
    partition_checks,
    request_check,
    space_check,
)
from trainrelay.slurm import installed, nodes, partitions
from trainrelay.trainers import LaunchRequest
from trainrelay.training import plan, state
from trainrelay.training.checkout import missing
from trainrelay.training.request import cores, launch_request, unsupported
from trainrelay.training.signature import trainer_config, trainer_of

_INTERPRETER_DEADLINE_S = 120.0  # a first import of torch from a busy network file system takes a minute

Where = tuple[str, str]


def checks(config: Config, where: Sequence[Where], now: datetime) -> Iterator[tuple[str, Found]]:
    """Each finding and what it is about; "": all of it."""
    yield from _interpreters(config, where)
    plans = [plan.stage_plan(config, *one) for one in where]
    for planned in plans:
        label = f"{planned.run}/{planned.stage}"
        yield from ((label, found) for found in _stage(config, planned))
    if installed():
        yield from (("", found) for found in folder_checks(_folders(config, where), mounts()))
        yield from _slurm(config, plans, now)
    else:
        yield "", note("there is no sbatch on this machine, so the checks of Slurm are left out")


# ---------------------------------------------------------------------- the trainer


def _interpreters(config: Config, where: Sequence[Where]) -> Iterator[tuple[str, Found]]:
    """Runs that ask the same of the same Python are asked for together."""
    asked: dict[Needs, tuple[LaunchRequest, list[str]]] = {}
    for name in dict.fromkeys(name for name, _ in where if root(config, name).is_dir()):
        request = _request(config, name, next(stage for run_name, stage in where if run_name == name))
        asked.setdefault(Needs.of(request), (request, []))[1].append(name)
    for request, names in asked.values():
        trainer = trainer_of(config, names[0])
        yield ", ".join(names), interpreter_check(request, trainer, _INTERPRETER_DEADLINE_S)


def _request(config: Config, run_name: str, stage: str) -> LaunchRequest:
    known = trainer_config(config, run_name, stage)
    return launch_request(config, run_name, stage, known, plan.initial_checkpoint(config, run_name, stage))


def _stage(config: Config, planned: plan.StagePlan) -> Iterator[Found]:
    """Its files, and room for its checkpoints."""
    if planned.action == "nothing":
        yield ok("complete, so nothing of it is checked")
        return
    request = _request(config, planned.run, planned.stage)
    problems = [*_missing(config, planned, request)]
    problems += unsupported(config, planned.run, planned.stage, request)
    if planned.action == "refuse" and not problems:
        problems = [planned.reason]
    yield from (Found("fix", problem) for problem in problems)
    if not problems:
        yield ok(f"{planned.doing}; its script and config are in {request.root}")
        yield _space(config, planned)


def _missing(config: Config, planned: plan.StagePlan, request: LaunchRequest) -> Iterator[str]:
    """What a start would not find; the interpreter has its own check."""
    initial, parent = None, config.stage(planned.run, planned.stage).init_from
    if parent is None:
        said = trainer_of(config, planned.run).config_initial_checkpoint(request.facts)
        initial = Path(request.root) / said if said and "://" not in said else None
    return missing(replace(request, interpreter=sys.executable), initial, parent)


def _space(config: Config, planned: plan.StagePlan) -> Found:
    facts = state.read(config, planned.run, planned.stage)
    newest = facts.checkpoints[0][1] if facts.checkpoints else None
    size_bytes = newest.stat().st_size if newest and newest.is_file() else None
    return space_check(facts.paths.work_dir, size_bytes, max(facts.epochs - facts.epochs_done, 1))


# ---------------------------------------------------------------------- Slurm


def _folders(config: Config, where: Sequence[Where]) -> dict[str, Path]:
    """What the nodes must find where it is here, by what it is for."""
    folders = {"this folder": Path.cwd(), "out": Path(config.out).absolute()}
    for name, stage in where:
        folders[f"checkout of {name}"] = root(config, name)
        folders[f"work dir of {name}/{stage}"] = stage_paths(config, name, stage).work_dir
    return folders


def _slurm(config: Config, plans: Sequence[plan.StagePlan], now: datetime) -> Iterator[tuple[str, Found]]:
    answers = answers_check()
    yield "", answers
    if answers.kind != "ok":
        yield "", note("the other checks of Slurm are left out")
        return
    yield "", account_check()
    try:
        known, machines = partitions(), nodes()
    except SlurmError as error:
        yield "", fix(f"Slurm does not show its partitions ({error})", "ask those who run the cluster")
        return
    for planned in plans:
        if planned.action == "nothing":
            continue
        resources = config.stage(planned.run, planned.stage).resources
        asked = asked_of(resources, load_site(), cores(config, planned.run, planned.stage))
        found = [*partition_checks(asked, known, machines), request_check(planned.sbatch, now)]
        yield from ((f"{planned.run}/{planned.stage}", one) for one in found)
