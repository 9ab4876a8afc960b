"""Config + stage -> everything that one start of its trainer needs (pure)."""

from __future__ import annotations

import sys
from dataclasses import replace

from trainrelay.config import Config
from trainrelay.trainers import RUNGS, LaunchRequest, Rung, TrainerConfig
from trainrelay.training.context import StageContext


def launch_request(at: StageContext, trainer_config: TrainerConfig, initial: str | None) -> LaunchRequest:
    """One start of a stage from its beginning, on the ladder's first rung.

    `initial` is the checkpoint to start from where the stage has an `init_from`.
    """
    settings, how = at.settings, at.trainer_settings
    return LaunchRequest(
        root=str(at.root),
        interpreter=_interpreter(at),
        launch_module=how.launch,
        entry=how.entry,
        config=settings.config,
        work_dir=settings.work_dir or str(at.paths.work_dir),
        nproc_per_node=how.nproc_per_node,
        nodes=settings.resources.nodes,
        rung=ladder(at)[0],
        master_port=settings.master_port,
        epochs=settings.epochs,
        step_name=f"trainrelay:{at.name}",
        device=how.device,
        deterministic=settings.deterministic,
        validate=settings.validate_,
        options=settings.options,
        env=how.env,
        seed=settings.seed,
        load_from=initial,
        trainer_config=trainer_config,
    )


def rung(config: Config, name: str) -> Rung:
    """A built-in rung or one of the config's own; the name is known to exist."""
    own = config.rungs.get(name)
    return Rung(name, own.backend, own.env) if own else RUNGS[name]


def ladder(at: StageContext) -> tuple[Rung, ...]:
    """The rungs of a stage, best first."""
    return tuple(rung(at.config, name) for name in at.settings.backends)


def cores(at: StageContext) -> int:
    """CPU cores of one training on its node."""
    return at.trainer_settings.nproc_per_node * at.settings.resources.cpus_per_gpu


def unsupported(at: StageContext, request: LaunchRequest) -> list[str]:
    """Why the trainer cannot be asked for what the config wants, on any rung of its ladder; once each."""
    said = (at.trainer.unsupported(replace(request, rung=one)) for one in ladder(at))
    return list(dict.fromkeys(sentence for sentences in said for sentence in sentences))


def _interpreter(at: StageContext) -> str:
    """A path is meant from the checkout, where the trainer is started; a bare name is looked up."""
    said = at.trainer_settings.interpreter
    if said is None:
        return sys.executable
    return str(at.root / said) if "/" in said else said
