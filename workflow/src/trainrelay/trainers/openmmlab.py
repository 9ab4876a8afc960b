"""What the trainers of mmcv 1.x and of mmengine have in common: `tools/train.py`'s config and options,
the lines of their runners and the files of their CheckpointHook."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainrelay.records import EpochBases
from trainrelay.trainers.base import (
    LaunchRequest,
    Observation,
    Option,
    ResumeSeen,
    StepSeen,
    Trainer,
    TrainerConfig,
    number_in,
    option_text,
)
from trainrelay.trainers.mmcv_values import flat, with_options
from trainrelay.trainers.python_values import cut
from trainrelay.trainers.saved_files import checkpoint_files, not_understood

_LOSS = re.compile(r"[, ] loss: ([^,\s]+)")
_GRAD_NORM = re.compile(r"[, ] grad_norm: ([^,\s]+)")
_ETA = re.compile(r"eta: (?:(\d{1,9}) days?, )?(\d{1,9}):(\d\d):(\d\d)")
_RESUMED = re.compile(r"resumed epoch:? (\d{1,9}), iter:? (\d{1,12})")
_CHECKPOINT = re.compile(r"^epoch_(\d{1,9})\.pth$")
_BEST = re.compile(r"^best_.+_epoch_(\d{1,9})\.pth$")
_RESERVED = {
    "load_from": "set the stage's init_from, or load_from in the trainer config",
    "work_dir": "set the stage's work_dir",
}


class OpenMMLab(Trainer):
    """How these trainers are read: config, printed lines, files."""

    looked_for = "epoch_N.pth"
    resume_proof = "line"
    saves_iteration = True
    epoch_bases = EpochBases(printed=0, saved=0)
    # Settings that change where, how fast or how loudly a model is trained, but not its weights.
    not_weights: re.Pattern[str]
    # What the workflow says itself, and what to do instead: a second word would fight it. To those of all:
    reserved: Mapping[str, str]
    # Epoch, iteration and iterations per epoch of a progress line.
    step_line: re.Pattern[str]
    # Where a config has its CheckpointHook.
    checkpoint_hook: str

    def changes_weights(self, setting: str) -> bool:
        """False for logging, evaluation, workers, paths and the backend."""
        return self.not_weights.search(setting) is None

    def effective_settings(self, config: TrainerConfig, options: Mapping[str, Option], /) -> dict[str, str]:
        """The values that the config's chain and the options merge to."""
        values = flat(with_options(config.values, options))
        return {f"config: {key}": cut(repr(value)) for key, value in values}

    def refused_option(self, key: str, value: Option, /) -> str | None:
        """What has its own key, and text that `--cfg-options` would misread."""
        if how := {**_RESERVED, **self.reserved}.get(key):
            return f"not as an option; {how}"
        if isinstance(value, str) and " " in value:
            return f"got {value!r}; {self.kind} deletes the spaces of an option: use none"
        return None

    def config_initial_checkpoint(self, config: TrainerConfig) -> str | None:
        """`load_from`."""
        path = config.literals.get("load_from")
        return path if isinstance(path, str) else None

    def checkpoint_interval(self, config: TrainerConfig, options: Mapping[str, Option], /) -> int | None:
        """The CheckpointHook's `interval`, unless it counts iterations."""
        said = {**config.literals, **options}
        interval = said.get(f"{self.checkpoint_hook}.interval")
        by_epoch = said.get(f"{self.checkpoint_hook}.by_epoch", True) is True
        return interval if by_epoch and type(interval) is int and interval > 0 else None

    def observe(self, line: str) -> Observation | None:
        """Progress and the proof of a resume; every other line is None."""
        if step := self.step_line.search(line):
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
        """What is saved where `save_best` is set: best_METRIC_epoch_N.pth."""
        found = [(_BEST.match(path.name), path) for path in checkpoint_files(work_dir)]
        return [(int(m[1]), path) for m, path in found if m]

    def unrecognised(self, work_dir: Path) -> list[tuple[Path, str]]:
        """What is no checkpoint; where there is no epoch_N.pth, all that has another name."""
        others = [path for path in checkpoint_files(work_dir) if not _CHECKPOINT.match(path.name)]
        bad = not_understood(others)
        if self.checkpoints(work_dir):
            return bad
        # A start from scratch would save over what these were made of.
        return bad + [(path, "is not called epoch_N.pth") for path in others if path not in dict(bad)]

    def checkpoint_path(self, work_dir: Path, epoch: int) -> Path:
        """CheckpointHook's name for it."""
        return work_dir / f"epoch_{epoch}.pth"


def own_options(request: LaunchRequest) -> Iterator[str]:
    """The stage's options, as `--cfg-options` takes them."""
    return (f"{key}={option_text(value)}" for key, value in request.options.items())


def load_from(request: LaunchRequest) -> str | None:
    """The option that names the initial checkpoint, where the trainer config does not say the same.

    The spaces of an option are deleted, so a path below a folder with one is relative to the checkout.
    """
    if request.load_from is None or request.trainer_config.problem:
        return None
    base, said = Path(request.root), request.trainer_config.literals.get("load_from")
    wanted = os.path.normpath(base / request.load_from)
    same = isinstance(said, str) and os.path.normpath(base / said) == wanted
    return None if same else os.path.relpath(wanted, base)


def misread(path: str | None, key: str, reader: str) -> Iterator[str]:
    """A sentence on a path that `--cfg-options` would take apart; `key` is what sets another one."""
    if path is not None and set(path) & set(" ,()[]'\""):
        yield (
            f"{reader} would misread the path {path} as an option; set {key} to a path without spaces,"
            " commas, brackets and quotes"
        )


def _eta_s(line: str) -> float | None:
    found = _ETA.search(line)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
