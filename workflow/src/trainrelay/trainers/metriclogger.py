"""Trainer kind `metriclogger`: argparse scripts of DETR's family, which print through a MetricLogger.

Facts about the command line, the lines and the files are those of DETR's main.py and util/misc.py; what
differs between its descendants (DeiT, MAE, torchvision's references, RoomFormer) is read from the arguments
that the script declares.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from trainrelay.progress_lines.bars import training_bar
from trainrelay.system.files import read_once
from trainrelay.text import did_you_mean
from trainrelay.trainers.argparse_config import is_of_type, read_arguments, typed_text
from trainrelay.trainers.base import (
    Launch,
    LaunchRequest,
    Observation,
    Option,
    StepSeen,
    Switch,
    Trainer,
    TrainerConfig,
    number_in,
    printed_number,
)
from trainrelay.trainers.torchrun import environment, launcher, on_each_node, one_rank

# Arguments that change where, how fast or how loudly a model is trained, but not its weights. A checkpoint to
# start from is judged by its content, the epochs and the seed by the stage's own keys.
NOT_WEIGHTS = re.compile(
    r"^(config: )?(seed|epochs|output_dir|output|log_dir|resume|auto_resume|start_epoch|eval|eval_only"
    r"|test_only|device|num_workers|workers|pin_mem|prefetch_factor|print_freq|save_\w+|ckpt_\w+|job_name|run_name"
    r"|wandb\w*|world_size|local_rank|rank|gpu|dist_url|dist_backend|dist_on_itp|distributed|finetune"
    r"|start_from_checkpoint)$"
)
# The argument that names weights to start from, by the families that have one (MAE and DeiT; Raster2Seq;
# DETR's masks).
_FROM = ("finetune", "start_from_checkpoint", "frozen_weights")
_RESERVED = {
    "epochs": "set the stage's epochs",
    "seed": "set the stage's seed",
    "output_dir": "set the stage's work_dir",
    "resume": "leave it out: trainrelay resumes by itself",
    "start_epoch": "leave it out: trainrelay resumes by itself",
    "dist_backend": "set the stage's backends",
    "device": "set the trainer's device",
}
_TYPES = {"int": "a whole number", "float": "a number"}
_STEP = re.compile(r"Epoch: \[(\d{1,9})(?:/\d{1,9})?\]\s+\[\s*(\d{1,9})/(\d{1,9})\]\s+eta: ")
_LOSS = re.compile(r"\sloss: (\S+)")
_GRAD_NORM = re.compile(r"\bgrad_norm: ([^,\s]+)")


class MetricLogger(Trainer):
    """How a script of DETR's family is started, what it prints, which files it leaves."""

    kind = "metriclogger"
    looked_for = "files of torch.save with weights and an epoch in them, whatever their names"
    lacks = frozenset({"deterministic", "validate"})
    start_options = _FROM
    appends_to = ("log.txt",)  # a line per epoch

    def read_config(self, root: Path, config: str) -> TrainerConfig:
        """The defaults and the spelling of the script's arguments."""
        return read_arguments(root, config)

    def changes_weights(self, setting: str) -> bool:
        """False for paths, logging, evaluation, workers and how the ranks meet."""
        return NOT_WEIGHTS.match(setting) is None

    def effective_settings(self, config: TrainerConfig, options: Mapping[str, Option], /) -> dict[str, str]:
        """Every argument with the option's value, else its default."""
        said = {f"config: {_name(config, key)}": _typed(config, key, value) for key, value in options.items()}
        return {**config.settings, **{key: text for key, text in said.items() if text is not None}}

    def default_seed(self, config: TrainerConfig) -> int | None:
        """The default of `--seed`."""
        seed = config.literals.get("seed")
        return seed if isinstance(seed, int) else None

    def refused_option(self, key: str, _value: Option, /) -> str | None:
        """What has its own key, and the command line's spelling of a name."""
        if "-" in key:
            return f"write it as {key.replace('-', '_')}, the name that it has in the script"
        return f"not as an option; {_RESERVED[key]}" if key in _RESERVED else None

    def schedule_over_all_epochs(self, config: TrainerConfig) -> str | None:
        """timm's and torchvision's name theirs; DETR's steps at fixed epochs; MAE's is in its code."""
        keys = [key for key in ("sched", "lr_scheduler", "scheduler", "lr_drop") if key in config.switches]
        named = (config.literals.get(key) for key in keys)
        cosine = next((name for name in named if isinstance(name, str) and "cos" in name.lower()), None)
        return cosine if keys else "perhaps its schedule, which no argument names,"

    def config_initial_checkpoint(self, config: TrainerConfig) -> str | None:
        """What `finetune` or its like names, by default or among the stage's options."""
        named = (config.literals.get(key) for key in _FROM)
        return next((path for path in named if isinstance(path, str) and path), None)

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """argv and environment of one start."""
        env, declared = environment(request, inherited), request.trainer_config.switches
        ranks = request.nodes * request.nproc_per_node
        if request.device == "cpu" and ranks == 1 and declared and "dist_backend" not in declared:
            # By RANK these scripts know that they are distributed: then they ask for a GPU, and for NCCL.
            argv = [*on_each_node(request), request.entry, *_arguments(request)]
            return Launch(tuple(argv), env | one_rank(request), request.root)
        argv = [*launcher(request)]
        # The old launcher else passes --local_rank, which these scripts do not know.
        old = request.launch_module == "torch.distributed.launch"
        argv += ["--use_env"] if old and "local_rank" not in declared else []
        argv += [request.entry, *_arguments(request)]
        return Launch(tuple(argv), env, request.root)

    def unsupported(self, request: LaunchRequest) -> Iterable[str]:
        """What the script does not declare, or declares otherwise than DETR does."""
        return () if request.trainer_config.problem else _unsupported(request)

    def observe(self, line: str) -> Observation | None:
        """Progress of training; `Test:` and every other line is None."""
        if "Epoch: [" in line and (step := _STEP.search(line)):
            loss, grad_norm = number_in(line, _LOSS, step.end()), number_in(line, _GRAD_NORM, step.end())
            return StepSeen(int(step[1]) + 1, int(step[2]) + 1, int(step[3]), loss, None, grad_norm)
        # A bar of tqdm, whose description counts epochs as headers do.
        if (bar := training_bar(line)) and bar.done:
            loss = printed_number(bar.numbers["loss"]) if "loss" in bar.numbers else None
            return StepSeen(bar.epoch + 1, bar.done, bar.total, loss, None)
        return None

    def checkpoint_path(self, work_dir: Path, count: int) -> Path:
        """DETR's name for it."""
        return work_dir / f"checkpoint{count - 1:04d}.pth"


def _arguments(request: LaunchRequest) -> Iterator[str]:
    """Ours first, so that the stage's options are at the end of the line, where you look for them."""
    for name, value in _ours(request).items():
        yield from _spelled(request.trainer_config, name, value)
    for name, option in request.options.items():
        yield from _spelled(request.trainer_config, name, option)


def _ours(request: LaunchRequest) -> dict[str, Option]:
    """What the workflow says; what the script's defaults say already is left out."""
    defaults, declared = request.trainer_config.literals, request.trainer_config.switches
    said: dict[str, Option] = {"output_dir": request.work_dir}
    wanted: dict[str, Option] = {
        "epochs": request.epochs,
        "seed": request.seed,
        "device": request.device,
        "dist_backend": request.rung.backend,
    }
    for name, value in wanted.items():
        known = request.trainer_config.problem is not None or name in declared
        if value is not None and known and defaults.get(name) != value:
            said[name] = value
    if request.load_from is not None:
        name = _from(request.trainer_config) or _FROM[0]
        said[name] = os.path.normpath(Path(request.root) / request.load_from)
    if request.resume_from is not None:
        said["resume"] = request.resume_from
    return said


def _from(config: TrainerConfig) -> str | None:
    return next((name for name in _FROM if name in config.switches), None)


def _spelled(config: TrainerConfig, name: str, value: Option) -> Iterator[str]:
    """An argument as the script declares it; null is left out."""
    switch = _switch(config, name) or Switch(f"--{name}", True if isinstance(value, bool) else None)
    if switch.sets is not None:
        wanted = switch.sets if name in config.switches else True
        yield from [switch.flag] if value is wanted else []
    elif isinstance(value, list):
        yield from (switch.flag, *map(str, value))
    elif value is not None:
        # One word, so that a value that begins with a dash is not taken for an argument.
        yield f"{switch.flag}={value}" if str(value).startswith("-") else switch.flag
        yield from [] if str(value).startswith("-") else [str(value)]


def _switch(config: TrainerConfig, name: str) -> Switch | None:
    """By the name in the trainer's code, else by the flag: aux_loss: false is no_aux_loss: true."""
    by_flag = (s for s in config.switches.values() if s.flag.lstrip("-").replace("-", "_") == name)
    return config.switches.get(name) or next(by_flag, None)


def _unsupported(request: LaunchRequest) -> Iterator[str]:
    config, script = request.trainer_config, request.config
    entry = read_once(read_arguments, Path(request.root), request.entry)
    if entry.declared_in and not config.declared_in <= entry.declared_in:
        yield (
            f"{script} is another script than the trainer's entry {request.entry}, which would be started;"
            f" give the stage its own: trainer: {{entry: {script}}}"
        )
    for name in ("output_dir", "resume", "epochs"):
        if name not in config.switches:
            yield f"{script} declares no --{name}, which kind metriclogger needs; is it the right `config`?"
    if (first := config.literals.get("start_epoch")) not in (None, 0, 1):
        yield f"{script} starts at epoch {first} by default; kind metriclogger needs a start at epoch 0 or 1"
    ranks = request.nodes * request.nproc_per_node
    if ranks > 1 and request.rung.backend != "nccl" and "dist_backend" not in config.switches:
        nccl = ", or set backends: [nccl]" if request.device == "cuda" else ""
        yield (
            f"{script} declares no --dist_backend, so it cannot use {request.rung.backend};"
            f" declare it and give it to init_process_group{nccl}"
        )
    if request.device != "cuda" and "device" not in config.switches:
        yield f"{script} declares no --device, so it cannot train on {request.device}"
    if request.seed is not None and "seed" not in config.switches:
        yield f"{script} declares no --seed; leave the stage's seed out"
    if request.load_from is not None and _from(config) is None:
        yield f"{script} declares no --{' or --'.join(_FROM)}, so it cannot start from another stage"
    yield from _undeclared(request)


def _name(config: TrainerConfig, key: str) -> str:
    """The name in the trainer's code of an option that may be called by its flag."""
    switch = _switch(config, key)
    return next((name for name, known in config.switches.items() if known == switch), key)


def _typed(config: TrainerConfig, key: str, value: Option) -> str | None:
    """The value as the script's parser makes it; None where it leaves the default as it is."""
    switch = _switch(config, key)
    if value is None:
        return None
    if switch is not None and switch.sets is not None:
        by_name = key in config.switches
        return str(bool(value) if by_name else switch.sets is bool(value))
    return typed_text(value, switch.type if switch else None)


def _undeclared(request: LaunchRequest) -> Iterator[str]:
    for name, value in request.options.items():
        switch = _switch(request.trainer_config, name)
        if switch is None:
            near = did_you_mean(name, request.trainer_config.switches)
            yield f"options.{name}: {request.config} declares no such argument{near}"
        elif switch.sets is not None and not isinstance(value, bool):
            yield f"options.{name}: got {value!r}; {switch.flag} is a switch: use true or false"
        elif switch.sets is None and isinstance(value, bool):
            yield f"options.{name}: got {value}; {switch.flag} takes a value"
        elif isinstance(value, list) and not switch.many:
            yield f"options.{name}: got a list; {switch.flag} takes one value"
        else:
            yield from _mistyped(name, switch, value if isinstance(value, list) else [value])


def _mistyped(name: str, switch: Switch, values: Sequence[Option]) -> Iterator[str]:
    """Values that the script's own parser would refuse."""
    for value in values:
        if value is None or switch.sets is not None:
            continue
        if switch.choices and str(value) not in switch.choices:
            yield f"options.{name}: got {value!r}; {switch.flag} allows: {', '.join(switch.choices)}"
        elif switch.type is not None and not is_of_type(value, switch.type):
            yield f"options.{name}: got {value!r}; {switch.flag} takes {_TYPES[switch.type]}"
