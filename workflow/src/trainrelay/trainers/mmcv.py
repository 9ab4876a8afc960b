"""Trainer kind `mmcv`: mmcv 1.x runners started by `tools/train.py`, as UniAD v1 and v2.0 are.

Facts about the command line, the log and the files are those of mmcv 1.x and of UniAD's own train.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainrelay.records import RULES, EpochBases
from trainrelay.trainers.base import (
    Launch,
    LaunchRequest,
    Observation,
    Option,
    ResumeSeen,
    StepSeen,
    Trainer,
    TrainerConfig,
    canonical_text,
    number_in,
    option_text,
)
from trainrelay.trainers.mmcv_config import read_config
from trainrelay.trainers.mmcv_values import flat, with_options
from trainrelay.trainers.python_values import ABSENT, cut, inside
from trainrelay.trainers.saved_files import checkpoint_files, could_be_overwritten, not_understood
from trainrelay.trainers.torchrun import environment, launcher

# Settings that change where, how fast or how loudly a model is trained, but not its weights. `load_from` is
# judged by the checkpoint's content, and the epochs by the stage's own `epochs`.
_NOT_WEIGHTS = re.compile(
    r"(^|: )(log_config|log_level|checkpoint_config|evaluation|work_dir|dist_params|load_from|resume_from"
    r"|total_epochs|runner\.max_epochs|data\.workers_per_gpu|data\.persistent_workers)(\.|#|$)"
)
_STRETCHED = ("CosineAnnealing", "FlatCosineAnnealing", "LinearAnnealing", "OneCycle", "Poly", "poly")
# What only configs of mmengine say; mmdet 2 has another train_cfg.
_MMENGINE = ("train_cfg.max_epochs", "train_cfg.max_iters", "optim_wrapper", "read_base")
_STEP = re.compile(r"Epoch \[(\d{1,9})\]\[(\d{1,9})/(\d{1,9})\]\t")
_LOSS = re.compile(r", loss: ([^,\s]+)")
_GRAD_NORM = re.compile(r", grad_norm: ([^,\s]+)")
_ETA = re.compile(r"eta: (?:(\d{1,9}) days?, )?(\d{1,9}):(\d\d):(\d\d)")
_RESUMED = re.compile(r"resumed epoch (\d{1,9}), iter (\d{1,12})")
_CHECKPOINT = re.compile(r"^epoch_(\d{1,9})\.pth$")
_BEST = re.compile(r"^best_.+_epoch_(\d{1,9})\.pth$")
# What the workflow says itself; a second word would fight it.
_RESERVED = {
    "load_from": "set the stage's init_from, or load_from in the trainer config",
    "resume_from": "leave it out: trainrelay resumes by itself",
    "work_dir": "set the stage's work_dir",
    "total_epochs": "set the stage's epochs",
    "runner.max_epochs": "set the stage's epochs",
    "dist_params.backend": "set the stage's backends",
}


class Mmcv(Trainer):
    """How an mmcv 1.x trainer is started, what it prints, which files it leaves."""

    kind = "mmcv"
    looked_for = "epoch_N.pth"
    resume_proof = "line"
    has_steps = True
    saves_iteration = True
    epoch_bases = EpochBases(printed=0, saved=0)
    imports = ("torch", kind)
    compiled = ("mmcv._ext",)

    def read_config(self, root: Path, config: str, rules: int = RULES) -> TrainerConfig:
        """What a config says with its `_base_` chain."""
        return read_config(root, config, rules)

    def changes_weights(self, setting: str) -> bool:
        """False for logging, evaluation, workers, paths and the backend."""
        return _NOT_WEIGHTS.search(setting) is None

    def effective_settings(
        self, config: TrainerConfig, options: Mapping[str, Option], rules: int, /
    ) -> dict[str, str]:
        """The values that the config's chain and the options merge to; by the rules of format 1, each
        statement, and the options that say something else than its literals."""
        if rules != 1:
            values = flat(with_options(config.values, options))
            return {f"config: {key}": cut(repr(value)) for key, value in values}
        said = {key: canonical_text(value) for key, value in config.literals.items()}
        asked = {key: canonical_text(value) for key, value in options.items()}
        changed = {f"option {key}": text for key, text in asked.items() if said.get(key) != text}
        return {**changed, **config.settings}

    def refused_option(self, key: str, value: Option, /) -> str | None:
        """What has its own key, and text that mmcv would misread."""
        if key in _RESERVED:
            return f"not as an option; {_RESERVED[key]}"
        if isinstance(value, str) and " " in value:
            return f"got {value!r}; mmcv deletes the spaces of an option: use none"
        return None

    def schedule_over_all_epochs(self, config: TrainerConfig) -> str | None:
        """mmcv's policies that are computed from max_epochs."""
        policy = config.literals.get("lr_config.policy")
        return policy if policy in _STRETCHED else None

    def config_initial_checkpoint(self, config: TrainerConfig) -> str | None:
        """`load_from`."""
        path = config.literals.get("load_from")
        return path if isinstance(path, str) else None

    def checkpoint_interval(self, config: TrainerConfig, options: Mapping[str, Option], /) -> int | None:
        """`checkpoint_config.interval`, unless it counts iterations."""
        said = {**config.literals, **options}
        interval = said.get("checkpoint_config.interval")
        by_epoch = said.get("checkpoint_config.by_epoch", True) is True
        return interval if by_epoch and type(interval) is int and interval > 0 else None

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """argv and environment of one start."""
        argv = [*launcher(request), request.entry, request.config, "--launcher", "pytorch"]
        argv += ["--deterministic"] if request.deterministic else []
        argv += [] if request.validate else ["--no-validate"]
        argv += ["--seed", str(request.seed)] if request.seed is not None else []
        argv += ["--work-dir", request.work_dir]
        argv += ["--resume-from", request.resume_from] if request.resume_from else []
        argv += ["--cfg-options", *_options(request)]
        return Launch(tuple(argv), environment(request, inherited), request.root)

    def incompatible(self, versions: Mapping[str, str]) -> list[str]:
        """mmcv 2 has no runner; before 1.4.8 mmcv calls what torch's DDP has no more since 1.11."""
        own, torch = _release(versions.get(self.kind, "")), _release(versions.get("torch", ""))
        if own >= (2,):
            return [f"mmcv {versions[self.kind]} has no mmcv.runner; mmcv-full 1.4.8 to 1.7.2 has"]
        if own and own < (1, 4, 8) and torch >= (1, 11):
            both = (
                f"mmcv {versions[self.kind]} cannot run DistributedDataParallel of torch {versions['torch']}"
            )
            return [f"{both}; mmcv-full 1.4.8 or later can, or torch before 1.11"]
        return []

    def unsupported(self, request: LaunchRequest) -> list[str]:
        """Configs of mmengine or that count iterations; paths that mmcv would take apart as options."""
        return list(_unsupported(request))

    def observe(self, line: str) -> Observation | None:
        """Progress and the proof of a resume; every other line is None."""
        if "Epoch [" in line and (step := _STEP.search(line)):
            loss, grad_norm = number_in(line, _LOSS), number_in(line, _GRAD_NORM)
            return StepSeen(int(step[1]), int(step[2]), int(step[3]), loss, _eta_s(line), grad_norm)
        if "resumed epoch" in line and (resumed := _RESUMED.search(line)):
            return ResumeSeen(int(resumed[1]), int(resumed[2]))
        return None

    def checkpoints(self, work_dir: Path, epoch_base: int = 0) -> list[tuple[int, Path]]:  # noqa: ARG002
        """epoch_N.pth, newest first by N: mtimes may be wrong on network storage, latest.pth may dangle."""
        found = [(_CHECKPOINT.match(path.name), path) for path in checkpoint_files(work_dir)]
        return sorted(((int(m[1]), path) for m, path in found if m), reverse=True)

    def best_copies(self, work_dir: Path, epoch_base: int = 0) -> list[tuple[int, Path]]:  # noqa: ARG002
        """What EvalHook saves where its `save_best` is set: best_METRIC_epoch_N.pth."""
        found = [(_BEST.match(path.name), path) for path in checkpoint_files(work_dir)]
        return [(int(m[1]), path) for m, path in found if m]

    def left_behind(self, work_dir: Path) -> list[str]:
        """All that looks like a checkpoint: CheckpointHook writes through links and replaces latest.pth."""
        return could_be_overwritten(work_dir)

    def unrecognised(self, work_dir: Path) -> list[tuple[Path, str]]:
        """What is not mmcv's; where there is no epoch_N.pth, all that has another name."""
        others = [path for path in checkpoint_files(work_dir) if not _CHECKPOINT.match(path.name)]
        bad = not_understood(others)
        if self.checkpoints(work_dir):
            return bad
        # A start from scratch would save over what these were made of.
        return bad + [(path, "is not called epoch_N.pth") for path in others if path not in dict(bad)]

    def checkpoint_path(self, work_dir: Path, epoch: int) -> Path:
        """CheckpointHook's name for it."""
        return work_dir / f"epoch_{epoch}.pth"


def _unsupported(request: LaunchRequest) -> Iterator[str]:
    values = with_options(request.trainer_config.values, request.options)
    found = [key for key in _MMENGINE if inside(values, key) is not ABSENT]
    if found and not {"runner", "total_epochs"} & values.keys():
        yield (
            f"{request.config} is a config of mmengine ({', '.join(found)}), and kind mmcv starts mmcv 1.x;"
            " there is no kind for mmengine yet"
        )
    runner, most = inside(values, "runner.type"), inside(values, "runner.max_iters")
    if str(runner).startswith("IterBased") or most not in (ABSENT, None):
        yield (
            f"{request.config} counts iterations (IterBasedRunner, max_iters), and kind mmcv counts epochs;"
            " write: runner = dict(_delete_=True, type='EpochBasedRunner', max_epochs=...)"
        )
    path = load_from(request)
    if path is not None and set(path) & set(" ,()[]'\""):
        yield (
            f"mmcv would misread the path {path} as an option; set promotion.target of the earlier stage to a"
            " path without spaces, commas, brackets and quotes"
        )


def _options(request: LaunchRequest) -> Iterator[str]:
    for key, value in request.options.items():
        yield f"{key}={option_text(value)}"
    yield f"dist_params.backend={request.rung.backend}"
    if not request.trainer_config.problem and _epochs_said(request.trainer_config) != request.epochs:
        yield f"runner.max_epochs={request.epochs}"
        yield f"total_epochs={request.epochs}"
    if (path := load_from(request)) is not None:
        yield f"load_from={path}"


def load_from(request: LaunchRequest) -> str | None:
    """The option that names the initial checkpoint, where the trainer config does not say the same.

    mmcv deletes the spaces of an option, so a path below a folder with one is relative to the checkout.
    """
    if request.load_from is None or request.trainer_config.problem:
        return None
    base, said = Path(request.root), request.trainer_config.literals.get("load_from")
    wanted = os.path.normpath(base / request.load_from)
    same = isinstance(said, str) and os.path.normpath(base / said) == wanted
    return None if same else os.path.relpath(wanted, base)


def _epochs_said(config: TrainerConfig) -> int | None:
    epochs = config.literals.get("runner.max_epochs", config.literals.get("total_epochs"))
    return epochs if isinstance(epochs, int) else None


def _eta_s(line: str) -> float | None:
    found = _ETA.search(line)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (1, 7, 2) of 1.7.2+cpu; empty if there are none."""
    found = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
