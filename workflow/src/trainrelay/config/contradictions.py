"""What is wrong with a configuration although each of its values is right."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from trainrelay.config.models import Config, OwnRung, Run, Stage, TrainerSettings, ancestry
from trainrelay.config.places import stage_paths, trainer_root
from trainrelay.text import did_you_mean
from trainrelay.trainers import RUNGS, Rung, Trainer


def contradictions(config: Config) -> Iterator[str]:
    """One sentence for each problem that no single value shows."""
    for name in (name for name in config.rungs if name in RUNGS):
        yield f"rungs.{name}: is built in; give your rung another name"
    for run_name, run in config.runs.items():
        yield from _trainer_contradictions(f"runs.{run_name}.trainer", run.trainer)
        for name, stage in run.stages.items():
            where, how = f"runs.{run_name}.stages.{name}", run.trainer_of(name)
            if stage.trainer:
                yield from _trainer_contradictions(f"{where}.trainer", stage.trainer)
            if (stage.epochs is None) == (stage.iters is None):
                yield f"{where}: a stage has either epochs or iters; write one of them"
            else:
                yield from _stage_contradictions(where, run, name, stage)
                yield from _bad_ladder(where, config, how, stage)
    yield from _memory_said_by_some(config)
    yield from _shared_places(config)


def _trainer_contradictions(where: str, how: TrainerSettings) -> Iterator[str]:
    if how.epoch_base is not None and how.trainer.epoch_bases is not None:
        yield f"{where}.epoch_base: kind {how.kind} needs none; leave it out"
    if how.trainer.needs_script != (how.script is not None):
        what = "needs it; write at least `command`" if how.script is None else "has none"
        yield f"{where}.script: kind {how.kind} {what}"


def _stage_contradictions(where: str, run: Run, name: str, stage: Stage) -> Iterator[str]:
    how = run.trainer_of(name)
    yield from _bad_parent(where, run, name, stage)
    yield from _refused_options(where, how.trainer, stage)
    yield from _words_it_lacks(where, how.trainer, stage)
    yield from _bad_choice(where, stage)
    if stage.init_match_min is not None and not stage.hook:
        yield f"{where}.init_match_min: needs hook: on; set that, or leave init_match_min out"
    if stage.unit not in how.trainer.units:
        yield f"{where}.iters: kind {how.kind} counts epochs; write epochs"
    has_steps = how.counting(stage.iters).has_steps
    if stage.exact and not (has_steps and stage.hook and stage.checkpoint_interval_min):
        needs = "hook: on and checkpoint_interval_min above 0" if has_steps else "kind mmcv or mmengine"
        yield f"{where}.exact: needs {needs}; set that, or leave exact out"
    gpu, ranks = stage.resources.gpu, how.nproc_per_node
    if how.device == "cuda" and gpu != ranks:
        got = f"got {gpu}" if gpu else "not set"
        yield f"{where}.resources.gpu: {got}; device cuda with nproc_per_node {ranks} needs {ranks}"


def _bad_choice(where: str, stage: Stage) -> Iterator[str]:
    choice, where = stage.choice, f"{where}.checkpoint"
    named = [said for said in (choice.epoch, choice.iteration, choice.best) if said is not None]
    other = choice.iteration if stage.unit == "epoch" else choice.epoch
    if stage.checkpoint != "latest" and len(named) != 1:
        yield f"{where}: set one of epoch, iteration and best, or write: checkpoint: latest"
    elif other is not None:
        yield f"{where}: the stage counts {stage.unit}s; write {{{stage.unit}: N}}"
    elif stage.promoted_count > stage.asked:
        yield f"{where}.{stage.unit}: got {stage.promoted_count}; it trains {stage.asked} {stage.unit}s"
    elif choice.best and choice.mode is None:
        yield f"{where}.mode: missing; is more of {choice.best} better (max), or less (min)? Set it"
    elif choice.mode and not choice.best:
        yield f"{where}.mode: goes with best; leave it out"
    elif stage.keep and stage.keep.best and not choice.best:
        what = "needs checkpoint: {best: METRIC, mode: max}; set that, or leave it out"
        yield f"{where.removesuffix('checkpoint')}keep.best: {what}"
    elif choice.best and not stage.validate_:
        yield f"{where}.best: needs the validation, and validate is false; leave that out"


def _bad_ladder(where: str, config: Config, how: TrainerSettings, stage: Stage) -> Iterator[str]:
    known: Mapping[str, Rung | OwnRung] = {**RUNGS, **config.rungs}
    for number, name in enumerate(stage.backends):
        place = f"{where}.backends.{number}"
        if name not in known:
            allowed = f"{', '.join(known)}, or one that you define under `rungs`"
            yield f"{place}: unknown backend '{name}'; allowed: {allowed}{did_you_mean(name, known)}"
        elif name in stage.backends[:number]:
            yield f"{place}: '{name}' is listed twice; remove one"
    used = {known[name].backend for name in stage.backends if name in known}
    several_ranks = how.nproc_per_node * stage.resources.nodes > 1
    if len(used) > 1 and several_ranks and not how.trainer.takes_backend:
        told = 'set trainer.script.backend (e.g. "--dist-backend {backend}"), or give the one that it uses'
        yield f"{where}.backends: nothing tells the script which of {', '.join(sorted(used))}; {told}"
    nccl = {name for name, rung in known.items() if rung.backend == "nccl"}
    # A ladder with another rung finds by its probe that this one does not work.
    if how.device == "cpu" and nccl.issuperset(stage.backends):
        yield f"{where}.backends: {stage.backends[0]} needs GPUs, and device is cpu; write: backends: [gloo]"


def _refused_options(where: str, trainer: Trainer, stage: Stage) -> Iterator[str]:
    for key, value in stage.options.items():
        if refusal := trainer.refused_option(key, value):
            yield f"{where}.options.{key}: {refusal}"
        elif stage.init_from and key in trainer.start_options:
            yield f"{where}.options.{key}: not beside init_from: {stage.init_from}, which sets it already"


def _words_it_lacks(where: str, trainer: Trainer, stage: Stage) -> Iterator[str]:
    for key, said, default in (
        ("deterministic", stage.deterministic, False),
        ("validate", stage.validate_, True),
    ):
        if key in trainer.lacks and said is not default:
            yield f"{where}.{key}: kind {trainer.kind} has no switch for it; leave it out, or set an option"


def _memory_said_by_some(config: Config) -> Iterator[str]:
    """Stages of one name are one Snakemake rule, and it knows no "site's default" beside a number of MB."""
    for name in config.stage_names:
        silent = [run for run in config.runs_with(name) if config.stage(run, name).resources.mem_gb is None]
        if silent and len(silent) < len(config.runs_with(name)):
            for run in silent:
                yield (
                    f"runs.{run}.stages.{name}.resources.mem_gb: missing, but another run's {name} has it; "
                    "set it in both or in neither"
                )


def _bad_parent(where: str, run: Run, name: str, stage: Stage) -> Iterator[str]:
    if stage.init_from is None:
        return
    if stage.init_from not in run.stages:
        known = ", ".join(other for other in run.stages if other != name) or "none, there is no other stage"
        yield f"{where}.init_from: got '{stage.init_from}', no stage of this run; allowed: {known}"
    elif name in (chain := ancestry(run.stages, name)):
        yield f"{where}.init_from: a cycle: {' -> '.join([name, *chain[: chain.index(name) + 1]])}"


def _shared_places(config: Config) -> Iterator[str]:
    """Sentences on stages that would write to one place; symlinks are followed."""
    mounted, lineage = _file_systems(), functools.cache(_lineage)
    taken: dict[Path, str] = {}  # by which key of the config
    inside: dict[Path, list[str]] = {}  # the keys that took something in a folder
    stages = [(name, stage) for name, run in config.runs.items() for stage in run.stages]
    for run, stage in stages:
        paths, where = stage_paths(config, run, stage), f"runs.{run}.stages.{stage}"
        work_dir = lineage(paths.work_dir)[0]
        held = [what for what, other in _others(config, run, stage).items() if work_dir in lineage(other)]
        held += ["a whole file system"] if str(work_dir) in mounted else []
        if held:
            would = "which would be archived with it; name another folder"
            yield f"{where}.work_dir: {paths.work_dir} is or holds {held[0]}, {would}"
        named = {f"{where}.work_dir": paths.work_dir, f"{where}.promotion.target": paths.target}
        for key, path in ((key, path) for key, path in named.items() if path):
            place, *folders = lineage(path)
            owners = [taken[folder] for folder in (place, *folders) if folder in taken]
            for owner in (*owners, *inside.get(place, ())):
                yield f"{key}: {path} is also {owner}'s; give each stage its own"
            taken[place] = key
            for folder in folders:
                inside.setdefault(folder, []).append(key)


def _lineage(path: Path) -> tuple[Path, ...]:
    """Where a path leads, and every folder above."""
    real = Path(os.path.realpath(path))
    return (real, *real.parents)


def _others(config: Config, run: str, stage: str) -> dict[str, Path]:
    """What no work dir may take along."""
    return {
        "the trainer's checkout": trainer_root(config, run, stage),
        "out": Path(config.out),
        "its run's folder": Path(config.out, run),
        "this folder": Path(),
        "your home": Path("~").expanduser() if "HOME" in os.environ else Path("/"),
    }


def _file_systems() -> set[str]:
    """Where whole file systems are mounted; a folder of one that is mounted alone is none."""
    with suppress(OSError):
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        words = [line.split(" ") for line in lines]
        return {where[4] for where in words if len(where) > 4 and where[3] == "/"}
    return set()
