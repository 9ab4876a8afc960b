"""Config + stage -> everything that one start of its trainer needs, and what of that is not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trainrelay.config import Config
from trainrelay.system.hints import made_again
from trainrelay.trainers import RUNGS, LaunchRequest, Rung, local_rank_misfit
from trainrelay.training import state
from trainrelay.training.context import StageContext


def launch_request(at: StageContext, *, parent_trains: bool = False) -> LaunchRequest:
    """One start of a stage from its beginning, on the ladder's first rung; `parent_trains`: once the earlier
    stage has."""
    settings, how = at.settings, at.trainer_settings
    return LaunchRequest(
        root=str(at.root),
        interpreter=_program(at, how.python),
        prefix=(*(_program(at, word) for word in how.prefix[:1]), *how.prefix[1:]),
        launch_module=how.launch,
        entry=how.entry,
        config=settings.config,
        work_dir=settings.work_dir or str(at.paths.work_dir),
        nproc_per_node=how.nproc_per_node,
        nodes=settings.resources.nodes,
        rung=ladder(at)[0],
        master_port=settings.master_port,
        epochs=settings.epochs,
        iters=settings.iters,
        step_name=f"trainrelay:{at.name}",
        device=how.device,
        deterministic=settings.deterministic,
        validate=settings.validate_,
        options=settings.options,
        env=how.env,
        seed=settings.seed,
        load_from=_of_the_earlier_stage(at, parent_trains=parent_trains),
        trainer_config=at.trainer_config,
    )


def _of_the_earlier_stage(at: StageContext, *, parent_trains: bool = False) -> str | None:
    """The checkpoint of `init_from`, as the trainer reads it: the promotion target, else the saved file."""
    parent = at.parent
    if parent is None:
        return None
    if parent.settings.promotion is not None:
        return parent.settings.promotion.target if parent.root == at.root else str(parent.paths.target)
    if not parent_trains and (promoted := state.promoted_file(at)):
        return promoted.path
    work_dir = state.work_dirs(parent.paths).current
    if parent.settings.best:
        return str(work_dir / "checkpoint-of-the-best")  # which that is, the validation shows
    return str(parent.trainer.checkpoint_path(work_dir, parent.settings.promoted_count))


def initial_checkpoint(at: StageContext) -> str | None:
    """What the trainer starts from, as it reads it: the earlier stage's, else the trainer config's own."""
    return _of_the_earlier_stage(at) or at.trainer.config_initial_checkpoint(at.trainer_config)


def initial_path(at: StageContext) -> Path | None:
    """That as a file; "torchvision://resnet50" and the like name none."""
    said = initial_checkpoint(at)
    return at.root / said if said and "://" not in said else None


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
    said = [at.trainer.unsupported(replace(request, rung=one)) for one in ladder(at)]
    said.append([*local_rank_misfit(request, at.trainer.launch(request, {}).argv, certain=True)])
    return list(dict.fromkeys(sentence for sentences in said for sentence in sentences))


def _program(at: StageContext, said: str) -> str:
    """A path is meant from the checkout, where the trainer is started; a bare name is looked up."""
    return str(at.root / said) if "/" in said else said


def missing(request: LaunchRequest, initial: Path | None, parent: StageContext | None) -> Iterator[str]:
    """One sentence for each thing a start needs and does not find, saying what to run."""
    root = Path(request.root)
    if not root.is_dir():
        yield f"the trainer's checkout {root} does not exist; clone it there, or set trainer.root to yours"
        return
    needed = (
        ("training script", request.entry, "trainer.entry"),
        ("training config", request.config, "config"),
    )
    gone = [one for one in needed if not (root / one[1]).is_file()]
    for what, name, key in gone:
        yield f"the {what} {root / name} does not exist; set `{key}` to a file that exists"
    if request.trainer_config.problem and not gone:  # else it is that
        why = f"{request.trainer_config.problem}; write it so that it can be read without running it"
        yield f"the training config {root / request.config} cannot be read: {why}"
    if request.prefix and shutil.which(request.prefix[0]) is None:
        yield f"the prefix {request.prefix[0]} was not found; set trainer.prefix in the config"
    if not request.prefix and shutil.which(request.interpreter) is None:
        yield f"the interpreter {request.interpreter} was not found; set trainer.interpreter in the config"
    if initial is not None and not initial.exists():
        own = "put it there, or name another in the trainer config"
        typed = f"run: {made_again(parent.paths.checkpoint)}" if parent else own
        yield f"the initial checkpoint {initial} does not exist; {typed}"
