"""Trainer kind `mmengine`: its runners, started by `tools/train.py` as in mmdet 3, mmpretrain and mmseg 1.

Facts about the command line, the log and the files are those of mmengine 0.10 and of these three scripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainrelay.records import Unit
from trainrelay.system.files import read_once
from trainrelay.trainers.argparse_config import WHOLE, read_arguments
from trainrelay.trainers.base import Launch, LaunchRequest, TrainerConfig
from trainrelay.trainers.mmengine_config import values_of
from trainrelay.trainers.openmmlab import OpenMMLab, load_from, misread, own_options
from trainrelay.trainers.python_values import inside
from trainrelay.trainers.torchrun import environment, launcher

# Schedules that end where the training does, if they say no other end.
_STRETCHED = ("CosineAnnealing", "Linear", "OneCycle", "Poly")
_ENDS = ("end", "T_max", "total_steps")
# Since 2.6 torch loads nothing but weights by default, and mmengine, which saves more, leaves it at that.
_WHOLE = {WHOLE: "1"}
_RESERVED = {
    "resume": "leave it out: trainrelay resumes by itself",
    "train_cfg.max_epochs": "set the stage's epochs",
    "train_cfg.max_iters": "set the stage's iters",
    "randomness.seed": "set the stage's seed",
    "randomness.deterministic": "set the stage's deterministic",
    "env_cfg.dist_cfg.backend": "set the stage's backends",
}


class Mmengine(OpenMMLab):
    """How a trainer of mmengine is started, what it prints, which files it leaves."""

    kind = "mmengine"
    imports = ("torch", kind)
    # `load_from` is judged by the checkpoint's content, the epochs and the seed by the stage's own keys.
    not_weights = re.compile(
        r"(^|: )(default_hooks\.(logger|checkpoint|timer|visualization)|log_level|log_processor|visualizer"
        r"|vis_backends|work_dir|launcher|load_from|resume|env_cfg\.(dist_cfg|mp_cfg|resource_limit)"
        r"|max_(epochs|iters)|(val|test)_(cfg|dataloader|evaluator)|train_cfg\.(max_epochs|max_iters|val_interval|val_begin|dynamic_intervals)"
        r"|train_dataloader\.(num_workers|persistent_workers|pin_memory|prefetch_factor)|randomness\.seed)(\.|$)"
    )
    reserved = _RESERVED
    checkpoint_hook = "default_hooks.checkpoint"
    saves_by_epoch = True
    step_lines: Mapping[Unit, re.Pattern[str]] = {
        "epoch": re.compile(r"Epoch\(train\) +\[ *(\d{1,9})\]\[ *(\d{1,9})/(\d{1,9})\] "),
        "iteration": re.compile(r"Iter\(train\) +\[ *(\d{1,9})/(\d{1,9})\] "),
    }
    loop = ("train_cfg", "TrainLoop")
    own = frozenset({"train_cfg", "optim_wrapper"})
    others = ("runner", "total_epochs", "optimizer_config", "lr_config")
    other = ("is a config of mmcv 1.x", "mmcv")
    values_of = staticmethod(values_of)

    def default_seed(self, config: TrainerConfig) -> int | None:
        """`randomness.seed`."""
        seed = config.literals.get("randomness.seed")
        return seed if isinstance(seed, int) else None

    def schedule_over_all_epochs(self, config: TrainerConfig) -> str | None:
        """The first of `param_scheduler` that ends with the training."""
        said = inside(config.values, "param_scheduler")
        every = [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, dict)]
        open_ended = (str(one.get("type")).rpartition(".")[2] for one in every if not set(_ENDS) & one.keys())
        return next((name for name in open_ended if name.startswith(_STRETCHED)), None)

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """argv and environment of one start.

        A checkpoint that is resumed from or begun with was read here before: it names nothing that would run.
        """
        argv = [*launcher(request), request.entry, request.config, "--launcher", "pytorch"]
        argv += ["--work-dir", request.work_dir]
        if request.resume_from:
            argv += ["--resume", *([] if _resume_is_a_switch(request) else [request.resume_from])]
        argv += ["--cfg-options", *_options(request)]
        loads = request.resume_from or request.load_from
        env = {**(_WHOLE if loads else {}), **environment(request, inherited)}
        return Launch(tuple(argv), env, request.root)

    def unsupported(self, request: LaunchRequest) -> Iterator[str]:
        """Also a work dir that it would take apart as an option."""
        yield from super().unsupported(request)
        if _resume_is_a_switch(request):
            yield from misread(request.work_dir, "the stage's work_dir", "mmengine")


def _resume_is_a_switch(request: LaunchRequest) -> bool:
    """Whether `--resume` takes no path, as in mmseg, which resumes from `load_from`."""
    switch = read_once(read_arguments, Path(request.root), request.entry).switches.get("resume")
    return switch is not None and switch.sets is not None


def _options(request: LaunchRequest) -> Iterator[str]:
    config = request.trainer_config
    yield from own_options(request)
    yield f"env_cfg.dist_cfg.backend={request.rung.backend}"
    # Always: code in a config may change what its base says.
    if request.iters is None:
        yield f"train_cfg.max_epochs={request.epochs}"
    else:  # its lines would count epochs of the data
        yield f"train_cfg.max_iters={request.iters}"
        yield "log_processor.by_epoch=False"
    if request.seed is not None:
        yield f"randomness.seed={request.seed}"
    if request.deterministic:
        yield "randomness.deterministic=True"
    if not request.validate:
        yield from ("val_cfg=None", "val_dataloader=None", "val_evaluator=None")
    if request.resume_from:
        yield from [f"load_from={request.resume_from}"] if _resume_is_a_switch(request) else []
        return
    if config.literals.get("resume"):  # it would take the epoch of the initial checkpoint for its own
        yield "resume=False"
    if (path := load_from(request)) is not None:
        yield f"load_from={path}"
