"""Config + stage -> everything that one start of its trainer needs (pure)."""

from __future__ import annotations

import sys
from dataclasses import replace

from trainrelay.config import Config, Stage, root, stage_paths
from trainrelay.trainers import RUNGS, LaunchRequest, Rung, TrainerConfig
from trainrelay.training.signature import trainer_of


def launch_request(
    config: Config, run: str, stage: str, facts: TrainerConfig, initial: str | None
) -> LaunchRequest:
    """One start of a stage from its beginning, on the ladder's first rung.

    `initial` is the checkpoint to start from where the stage has an `init_from`.
    """
    settings, how = config.stage(run, stage), config.runs[run].trainer
    return LaunchRequest(
        root=str(root(config, run)),
        interpreter=_interpreter(config, run),
        launch_module=how.launch,
        entry=how.entry,
        config=settings.config,
        work_dir=settings.work_dir or str(stage_paths(config, run, stage).work_dir),
        nproc_per_node=how.nproc_per_node,
        nodes=settings.resources.nodes,
        rung=ladder(config, settings)[0],
        master_port=settings.master_port,
        epochs=settings.epochs,
        step_name=f"trainrelay:{run}/{stage}",
        device=how.device,
        deterministic=settings.deterministic,
        validate=settings.validate_,
        options=settings.options,
        env=how.env,
        seed=settings.seed,
        load_from=initial,
        facts=facts,
    )


def rung(config: Config, name: str) -> Rung:
    """A built-in rung or one of the config's own; the name is known to exist."""
    own = config.rungs.get(name)
    return Rung(name, own.backend, own.env) if own else RUNGS[name]


def ladder(config: Config, stage: Stage) -> tuple[Rung, ...]:
    """The rungs of a stage, best first."""
    return tuple(rung(config, name) for name in stage.backends)


def cores(config: Config, run: str, stage: str) -> int:
    """CPU cores of one training on its node."""
    return config.runs[run].trainer.nproc_per_node * config.stage(run, stage).resources.cpus_per_gpu


def unsupported(config: Config, run: str, stage: str, request: LaunchRequest) -> list[str]:
    """Why the trainer cannot be asked for what the config wants, on any rung of its ladder; once each."""
    trainer = trainer_of(config, run)
    rungs = ladder(config, config.stage(run, stage))
    said = (trainer.unsupported(replace(request, rung=one)) for one in rungs)
    return list(dict.fromkeys(sentence for sentences in said for sentence in sentences))


def _interpreter(config: Config, run: str) -> str:
    """A path is meant from the checkout, where the trainer is started; a bare name is looked up."""
    said = config.runs[run].trainer.interpreter
    if said is None:
        return sys.executable
    return str(root(config, run) / said) if "/" in said else said
