"""What the trainers of mmcv 1.x and of mmengine have in common: `tools/train.py`'s config and options,
the lines of their runners and the files of their CheckpointHook."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any

from trainrelay.checkpoint import SavedAs
from trainrelay.records import KEYS, EpochBases, Unit
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
from trainrelay.trainers.mmcv_config import chain_values, read_config
from trainrelay.trainers.mmcv_values import flat, with_options
from trainrelay.trainers.python_values import ABSENT, SourceText, cut, holds, inside
from trainrelay.trainers.saved_files import checkpoint_files
from trainrelay.trainers.script_settings import ScriptSettings

_LOSS = re.compile(r"[, ] loss: ([^,\s]+)")
_GRAD_NORM = re.compile(r"[, ] grad_norm: ([^,\s]+)")
_ETA = re.compile(r"eta: (?:(\d{1,9}) days?, )?(\d{1,9}):(\d\d):(\d\d)")
_RESUMED = re.compile(r"resumed (?:from )?epoch:? (\d{1,9}), iter:? (\d{1,12})")
_RESERVED = {
    "load_from": "set the stage's init_from, or load_from in the trainer config",
    "work_dir": "set the stage's work_dir",
}


class OpenMMLab(Trainer):
    """How these trainers are read: config, printed lines, files."""

    units = ("epoch", "iteration")
    has_steps = True
    looked_for = called = "epoch_N.pth"
    resume_proof = "line"
    saves_iteration = True
    epoch_bases = EpochBases(printed=0, saved=0)
    # Settings that change where, how fast or how loudly a model is trained, but not its weights.
    not_weights: re.Pattern[str]
    # What the workflow says itself, and what to do instead: a second word would fight it. To those of all:
    reserved: Mapping[str, str]
    # Epoch, iteration and iterations per epoch of a progress line; by iterations that one and all of them.
    step_lines: Mapping[Unit, re.Pattern[str]]
    # Where a config has its CheckpointHook, and whether that counts epochs by default; None: as the runner.
    checkpoint_hook: str
    saves_by_epoch: bool | None = None
    # The section of a config that says what is counted, and what its types end with.
    loop: tuple[str, str]
    # Keys by which a config is of this family, those that only the other one has, its words and its kind.
    own: frozenset[str]
    others: tuple[str, ...]
    other: tuple[str, str]
    values_of = staticmethod(chain_values)

    def read_config(self, root: Path, config: str) -> TrainerConfig:
        """What a config says with its bases."""
        return read_config(root, config, self.values_of)

    def of(self, script: ScriptSettings | None, entry: str, iters: int | None = None) -> Trainer:  # noqa: ARG002
        """The same for a stage by iterations."""
        if iters is None:
            return self
        counting = copy(self)
        counting.unit, counting.looked_for = "iteration", "iter_N.pth"
        counting.called = counting.looked_for
        return counting

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
        """The CheckpointHook's `interval`, if it counts what the stage does."""
        said = {**config.literals, **options}
        interval = said.get(f"{self.checkpoint_hook}.interval")
        by_epoch = said.get(f"{self.checkpoint_hook}.by_epoch", self._saves_by_epoch)
        fits = by_epoch is (self.unit == "epoch")
        return interval if fits and type(interval) is int and interval > 0 else None

    @property
    def _saves_by_epoch(self) -> bool:
        return self.unit == "epoch" if self.saves_by_epoch is None else self.saves_by_epoch

    def unsupported(self, request: LaunchRequest) -> Iterator[str]:
        """Configs of the other family, or that count something else; paths that would be taken apart as
        options."""
        values = with_options(request.trainer_config.values, request.options)
        found = [key for key in self.others if inside(values, key) is not ABSENT]
        if found and not self.own & values.keys():
            said, kind = self.other
            what = f"{request.config} {said} ({', '.join(found)}), which kind {self.kind} does not start"
            yield f"{what}; set kind: {kind}"
        yield from self.misfits(request, values)
        yield from misread(load_from(request), "promotion.target of the earlier stage", self.kind)

    def misfits(self, request: LaunchRequest, values: Mapping[str, Any]) -> Iterator[str]:
        """A sentence where the config counts what the stage does not, or saves elsewhere."""
        section, loop = self.loop
        other: Unit = "epoch" if self.unit == "iteration" else "iteration"
        own, others = ([*_said_of(unit, section, values)] for unit in (self.unit, other))
        if type(inside(values, where := f"{self.checkpoint_hook}.out_dir")) is str:
            what = f"{where} of {request.config} saves checkpoints where they are not looked for"
            yield f"{what}; leave it out, and set the stage's work_dir"
        key, how = KEYS[self.unit], f"{KEYS[self.unit][:-1].title()}Based{loop}"
        how = f"{section} = dict(_delete_=True, type='{how}', max_{key}=...)"
        if own and others:
            what = ", ".join([*own, *others])
            yield f"{request.config} counts epochs and iterations at once ({what}); write: {how}"
        elif others:
            yield (
                f"{request.config} counts {other}s ({', '.join(others)}), and the stage has {key}; write"
                f" {KEYS[other]} in place of {key}, or in the config: {how}"
            )
        elif self.unit == "iteration" and self._saves_epochs(request, values):
            yield (
                f"{self.checkpoint_hook} of {request.config} saves by epochs, and the stage counts"
                " iterations; give it by_epoch=False and an interval in iterations"
            )

    def _saves_epochs(self, request: LaunchRequest, values: Mapping[str, Any]) -> bool:
        """Whether its CheckpointHook is known to save no iter_N.pth."""
        hooks = values.get(self.checkpoint_hook.partition(".")[0])
        by_epoch = inside(values, f"{self.checkpoint_hook}.by_epoch")
        known = not request.trainer_config.problem and not holds(hooks, SourceText)
        return known and (self._saves_by_epoch if by_epoch is ABSENT else by_epoch is True)

    def observe(self, line: str) -> Observation | None:
        """Progress and the proof of a resume; every other line is None."""
        if step := self.step_lines[self.unit].search(line):
            loss, grad_norm = number_in(line, _LOSS), number_in(line, _GRAD_NORM)
            by_iteration = self.unit == "iteration"
            epoch, at, of = map(int, [1, *step.groups()] if by_iteration else step.groups())
            return StepSeen(epoch, at, of, loss, _eta_s(line), grad_norm, by_iteration)
        if "resumed " in line and (resumed := _RESUMED.search(line)):
            return ResumeSeen(int(resumed[1]), int(resumed[2]))
        return None

    def saved_as(self, path: Path) -> SavedAs:
        """Iterations by the name: mmcv's file holds one less. Epochs by the content."""
        named = self._numbered(path) or self._numbered(path, "best_.+_")
        return SavedAs(self.unit, named if self.unit == "iteration" else None)

    def checkpoints(self, work_dir: Path, epoch_base: int = 0) -> list[tuple[int, Path]]:  # noqa: ARG002
        """epoch_N.pth, newest first by N: mtimes may be wrong on network storage, latest.pth may dangle."""
        return sorted(self._with_number(work_dir), reverse=True)

    def best_copies(self, work_dir: Path, epoch_base: int = 0) -> list[tuple[int, Path]]:  # noqa: ARG002
        """What is saved where `save_best` is set: best_METRIC_epoch_N.pth."""
        return self._with_number(work_dir, "best_.+_")

    def _with_number(self, work_dir: Path, prefix: str = "") -> list[tuple[int, Path]]:
        found = [(self._numbered(path, prefix), path) for path in checkpoint_files(work_dir)]
        return [(number, path) for number, path in found if number is not None]

    def _numbered(self, path: Path, prefix: str = "") -> int | None:
        """The number in a name that CheckpointHook gives, of epochs or of iterations."""
        found = re.fullmatch(prefix + re.escape(self.looked_for).replace("N", r"(\d{1,9})"), path.name)
        return int(found[1]) if found else None

    def is_called_so(self, path: Path) -> bool:
        """As CheckpointHook names what is resumed from."""
        return self._numbered(path) is not None

    def checkpoint_path(self, work_dir: Path, count: int) -> Path:
        """CheckpointHook's name for it."""
        return work_dir / self.looked_for.replace("N", str(count))


def _said_of(unit: Unit, section: str, values: Mapping[str, Any]) -> Iterator[str]:
    """What in a config counts epochs, or iterations."""
    loop = inside(values, f"{section}.type")
    if not isinstance(loop, SourceText) and f"{KEYS[unit][:-1].title()}Based" in str(loop):
        yield str(loop).rpartition(".")[2]
    if inside(values, f"{section}.by_epoch") is (unit == "epoch"):
        yield f"by_epoch={unit == 'epoch'}"
    if inside(values, most := f"{section}.max_{KEYS[unit]}") not in (ABSENT, None):
        yield most
    if section not in values and f"total_{KEYS[unit]}" in values:  # before mmcv 1.1
        yield f"total_{KEYS[unit]}"


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
