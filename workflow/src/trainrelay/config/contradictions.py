"""What is wrong with a configuration although each of its values is right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from trainrelay.config.models import Config, Run, Stage, ancestry
from trainrelay.config.places import stage_paths


def contradictions(config: Config) -> Iterator[str]:
    """A sentence for each thing that no single value shows."""
    for run_name, run in config.runs.items():
        for name, stage in run.stages.items():
            yield from _stage_contradictions(f"runs.{run_name}.stages.{name}", run, name, stage)
    yield from _shared_places(config)


def _stage_contradictions(where: str, run: Run, name: str, stage: Stage) -> Iterator[str]:
    yield from _bad_parent(where, run, name, stage)
    if stage.checkpoint_epoch > stage.epochs:
        yield f"{where}.checkpoint.epoch: got {stage.checkpoint_epoch}; at most epochs, {stage.epochs}"
    gpu, ranks = stage.resources.gpu, run.trainer.nproc_per_node
    if run.trainer.device == "cuda" and gpu != ranks:
        yield f"{where}.resources.gpu: got {gpu}; device cuda with nproc_per_node {ranks} needs {ranks}"
    if run.trainer.device == "cpu" and gpu:
        yield f"{where}.resources.gpu: got {gpu}; device cpu needs 0"


def _bad_parent(where: str, run: Run, name: str, stage: Stage) -> Iterator[str]:
    if stage.init_from is None:
        return
    if stage.init_from not in run.stages:
        known = ", ".join(run.stages)
        yield f"{where}.init_from: got '{stage.init_from}', no stage of this run; allowed: {known}"
    elif name in (chain := ancestry(run.stages, name)):
        yield f"{where}.init_from: a cycle: {' -> '.join([name, *chain[: chain.index(name) + 1]])}"


def _shared_places(config: Config) -> Iterator[str]:
    """Sentences on stages that would write to one place; symlinks are followed."""
    places: dict[Path, str] = {}
    for run in config.runs:
        for stage in config.runs[run].stages:
            yield from _clashes(config, run, stage, places)


def _clashes(config: Config, run: str, stage: str, places: dict[Path, str]) -> Iterator[str]:
    paths = stage_paths(config, run, stage)
    where = f"runs.{run}.stages.{stage}"
    named = {f"{where}.work_dir": paths.work_dir, f"{where}.promotion.target": paths.target}
    for key, path in named.items():
        if path is None:
            continue
        real = Path(os.path.realpath(path))
        for taken, owner in places.items():
            if real == taken or real in taken.parents or taken in real.parents:
                yield f"{key}: {path} is also {owner}'s; give each stage a place of its own"
        places[real] = key
