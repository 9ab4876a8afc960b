"""Config + stage -> everything that one start of its trainer needs (pure)."""

from __future__ import annotations

import os
import sys

from trainrelay.command import RUNGS, LaunchRequest, Rung, TrainerConfig
from trainrelay.config import Config, Stage, root, stage_paths
from trainrelay.signature import option_text, trainer_of


def launch_request(
    config: Config, run: str, stage: str, facts: TrainerConfig, initial: str | None
) -> LaunchRequest:
    """One start of a stage from its beginning, on the ladder's first rung.

    `initial` is the checkpoint to start from where the stage has an `init_from`. What the trainer config
    says itself already is not said again, so that the command stays the one a person would type.
    """
    settings, how = config.stage(run, stage), config.runs[run].trainer
    trainer, rung = trainer_of(config, run), first_rung(settings)
    return LaunchRequest(
        root=str(root(config, run)),
        interpreter=_interpreter(config, run),
        launch_module=how.launch,
        entry=how.entry,
        config=settings.config,
        work_dir=settings.work_dir or str(stage_paths(config, run, stage).work_dir),
        nproc_per_node=how.nproc_per_node,
        nodes=settings.resources.nodes,
        backend=rung.backend,
        master_port=settings.master_port,
        arguments=_arguments(settings),
        options={key: option_text(value) for key, value in settings.options.items()},
        env={**how.env, **rung.env},
        seed=settings.seed,
        epochs=_unless_said(settings.epochs, trainer.config_epochs(facts), facts),
        load_from=_load_from(config, run, trainer.config_initial_checkpoint(facts), facts, initial),
    )


def first_rung(stage: Stage) -> Rung:
    """The rung that a training starts with."""
    return RUNGS[stage.backends[0]]


def _interpreter(config: Config, run: str) -> str:
    """A path is meant from the checkout, where the trainer is started; a bare name is looked up."""
    said = config.runs[run].trainer.interpreter
    if said is None:
        return sys.executable
    return str(root(config, run) / said) if "/" in said else said


def _arguments(stage: Stage) -> tuple[str, ...]:
    flags = {"--deterministic": stage.deterministic, "--no-validate": not stage.validate_}
    return tuple(flag for flag, wanted in flags.items() if wanted)


def _unless_said(wanted: int, said: int | None, facts: TrainerConfig) -> int | None:
    return None if said == wanted or facts.problem else wanted


def _load_from(
    config: Config, run: str, said: str | None, facts: TrainerConfig, initial: str | None
) -> str | None:
    if initial is None or facts.problem:
        return None
    base = root(config, run)
    same = said is not None and os.path.normpath(base / said) == os.path.normpath(base / initial)
    # mmcv deletes the spaces of an option, so a path below a folder with one is said from the checkout.
    return None if same else os.path.relpath(base / initial, base)
