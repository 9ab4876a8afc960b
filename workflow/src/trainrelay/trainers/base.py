"""What the rest asks of a trainer kind. One module per kind implements `Trainer`; nothing here does I/O
except looking at the files of a work dir."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from trainrelay.checkpoint import Glance, SavedAs, glance, inspect, without_digits
from trainrelay.progress_lines.described import LineReader
from trainrelay.records import CheckpointFacts, EpochBases, Unit
from trainrelay.system.tail import RowsTail
from trainrelay.trainers.saved_files import (
    by_epoch,
    checkpoint_files,
    could_be_overwritten,
    not_understood,
)
from trainrelay.trainers.script_settings import ScriptSettings

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LONGEST_NUMBER = 400  # a float has no more digits, and Python reads no integer of thousands
FIRST_NODE = "first-node"
"""Stands for its name in a plan; Slurm chooses the nodes when it starts a job."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A named way for ranks to talk: torch's backend and the environment variables that go with it."""

    name: str
    backend: str
    env: Mapping[str, str]


RUNGS: Mapping[str, Rung] = {
    rung.name: rung
    for rung in (
        Rung("nccl", "nccl", {}),
        Rung("nccl-no-p2p", "nccl", {"NCCL_P2P_DISABLE": "1"}),
        Rung("nccl-no-ib", "nccl", {"NCCL_IB_DISABLE": "1"}),
        Rung("nccl-no-shm", "nccl", {"NCCL_SHM_DISABLE": "1"}),
        Rung("gloo", "gloo", {}),
    )
}
"""The rungs that every config knows, by name."""

Option = bool | int | float | str | list[bool | int | float | str] | None


def option_text(value: Option) -> str:
    """A value of a stage's options as text: text as it is, lists as [a,b]."""
    if isinstance(value, list):
        return "[" + ",".join(option_text(item) for item in value) + "]"
    return str(value)


def canonical_text(value: Any) -> str:
    """The text of what a value means, however it is spelled: 2e-4 (which YAML takes for text) is 0.0002."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical_text(item) for item in value) + "]"
    if isinstance(value, str) and len(value) < _LONGEST_NUMBER and _NUMBER.fullmatch(value):
        return str(float(value)) if set(value) & set(".eE") else str(int(value))
    return str(value)


def printed_number(text: str) -> float | None:
    """A printed number, also as a tensor prints; None where it is none."""
    try:
        return float(text.removeprefix("tensor(").rstrip(",)"))
    except ValueError:
        return None


def number_in(line: str, pattern: re.Pattern[str], start: int = 0) -> float | None:
    """The printed number that a pattern finds in a line; None if there is none."""
    found = pattern.search(line, start)
    return printed_number(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Switch:
    """An argument that a trainer declares, as its command line spells it.

    `sets` is what a switch without a value sets it to; None: it takes a value, `many` of them or one, of
    `type` int, float or any other (None), one of `choices` where there are some.
    """

    flag: str
    sets: bool | None = None
    many: bool = False
    type: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """What a trainer's config says, read without running it.

    `settings` maps "which file: dotted.key" to the text of its value; `literals` maps dotted keys to
    the values that can be known without running the file; `switches` maps the arguments that it declares, for
    trainers that declare them, to their spelling; `values`, nested, are what its files merge to: of mmcv
    configs instead of `settings`.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    literals: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, Switch] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    declared_in: frozenset[str] = frozenset()  # files of a script that declare its arguments
    saves_every: str | None = None  # epochs, or the argument that holds them, where its script says so
    problem: str | None = None  # why it could not be read, in one sentence


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """Everything that one start of a trainer needs to know; paths as the config spells them.

    Relative paths are relative to `root`, the trainer's checkout, which is its working directory. What the
    trainer config sets itself need not be passed again: each kind decides that.
    """

    root: str
    interpreter: str
    launch_module: str  # torch.distributed.launch | torch.distributed.run
    entry: str
    config: str
    work_dir: str
    nproc_per_node: int
    nodes: int
    rung: Rung  # how the ranks talk
    master_port: int | None  # None: the launcher's own default is kept
    epochs: int | None  # or
    iters: int | None = None
    prefix: tuple[str, ...] = ()  # words before the interpreter; `prefixed` puts them in, no kind does
    master_addr: str = FIRST_NODE  # where the ranks of several nodes meet
    step_name: str = ""  # of the Slurm step that spans several nodes
    device: str = "cuda"
    deterministic: bool = False
    validate: bool = True
    options: Mapping[str, Option] = field(default_factory=dict)  # in order
    env: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    load_from: str | None = None  # the earlier stage's checkpoint
    resume_from: str | None = None
    trainer_config: TrainerConfig = field(default_factory=TrainerConfig)


@dataclass(frozen=True, slots=True)
class Launch:
    """An argv list and the environment variables it adds to the inherited ones."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class StepSeen:
    """A progress line. `epoch` is 1-based, `iteration` how many of the epoch are done.

    A kind that cannot know from which number its lines count takes that to be 0; see `counted`. `eta_s` is
    that of the whole training; None where the trainer tells only that of an epoch. `by_iteration`: of a
    training that counts iterations and is one epoch.
    """

    epoch: int
    iteration: int
    iters_per_epoch: int | None
    loss: float | None
    eta_s: float | None
    grad_norm: float | None = None
    by_iteration: bool = False

    @property
    def place(self) -> str:
        """Where the training is, in words."""
        return f"{'' if self.by_iteration else f'epoch {self.epoch}, '}iteration {self.iteration}"

    def counted(self, bases: EpochBases) -> StepSeen:
        """The same line, its epoch counted from 1."""
        return replace(self, epoch=self.epoch - 1) if bases.printed else self


@dataclass(frozen=True, slots=True)
class ResumeSeen:
    """The trainer's own proof that it resumed: the last finished epoch and the global iteration."""

    epoch: int
    iteration: int


Observation = StepSeen | ResumeSeen


class Follower:
    """Follows the lines of one log of a trainer."""

    def __init__(self, trainer: Trainer) -> None:
        self.described = trainer.described and trainer.described()
        self._observe = trainer.observe
        self._from_0 = False  # the iterations of an epoch are counted from 0

    def see(self, line: str) -> Observation | None:
        """What the next line says, or None."""
        if self.described is None:
            return self._observe(line)
        seen = self.described.line(line)
        if not self.described.is_read(seen) or (seen.evaluated and not seen.values):
            return None
        norm, epoch = seen.values.get("grad_norm"), seen.epoch if seen.by_iteration else seen.epoch + 1
        self._from_0 |= seen.iteration == 0 and not seen.by_iteration
        at = 0 if seen.iteration is None else seen.iteration + self._from_0
        at = min(at, seen.iters or at)
        return StepSeen(epoch, at, seen.iters, seen.loss, None, norm, seen.by_iteration)


class Trainer(Protocol):
    """A trainer kind: how it is started, what it prints, which files it leaves."""

    kind: str
    # What a stage counts; the kinds of stages that there are.
    unit: Unit = "epoch"
    units: tuple[Unit, ...] = ("epoch",)
    # What proves a resume: a line that says so, or the number of the first epoch that is trained.
    resume_proof: Literal["line", "epoch"] = "epoch"
    # Whether its checkpoints hold the number of iterations, so that a skipped part of an epoch shows.
    saves_iteration: bool = False
    # How every trainer of this kind counts epochs; None: that is learned from each training, or set.
    epoch_bases: EpochBases | None = None
    # Whether the hook saves step checkpoints in trainers of this kind.
    has_steps: bool = False
    # Keys of a stage for which this kind's command line has no switch.
    lacks: frozenset[str] = frozenset()
    # Options that name the checkpoint to start from, as an `init_from` does.
    start_options: tuple[str, ...] = ()
    # The checkpoints that it reads, in words.
    looked_for: str
    # Modules without which no trainer of this kind starts, torch among them; compiled ones that some need.
    imports: tuple[str, ...] = ("torch",)
    compiled: tuple[str, ...] = ()
    # Makes a reader of its lines, for analysis too; None: `observe` knows them.
    described: Callable[[], LineReader] | None = None
    # Whether the section `script` describes it; no other kind has one.
    needs_script: bool = False
    # Whether its command line says which checkpoint to resume from; else it looks for its newest one.
    takes_checkpoint: bool = True
    # Whether its command line says the backend.
    takes_backend: bool = True
    # A file of the work dir that is read instead of its printed lines; those to which a start appends.
    metrics: str | None = None
    appends_to: tuple[str, ...] = ()
    # Whether it resumes without the state of an optimizer, if none of its checkpoints has one.
    may_lack_optimizer: bool = False
    # Whether its checkpoints are folders, each with all of its files.
    saves_folders: bool = False
    # The names of its checkpoints, in a sentence, where not every file of torch.save is one.
    called: str = ""

    def of(self, script: ScriptSettings | None, entry: str, iters: int | None = None) -> Trainer:  # noqa: ARG002
        """The trainer of a stage, with its own description where this kind has one; `iters` where it counts
        those."""
        return self

    @abstractmethod
    def read_config(self, root: Path, config: str) -> TrainerConfig:
        """What a trainer config says; an unreadable one carries its problem."""

    @abstractmethod
    def changes_weights(self, setting: str) -> bool:
        """Whether a setting of the config (or an option) is part of the training's identity."""

    @abstractmethod
    def effective_settings(self, config: TrainerConfig, options: Mapping[str, Option], /) -> dict[str, str]:
        """The settings that a training runs with, config and options together, by name and as text.

        An option that says what the config says already changes nothing.
        """

    def default_seed(self, config: TrainerConfig) -> int | None:  # noqa: ARG002
        """The seed where the stage names none; None: it is not known."""
        return None

    def refused_option(self, key: str, value: Option, /) -> str | None:  # noqa: ARG002
        """Why a stage may not set this option: the rest of a sentence about it. None: it may."""
        return None

    @abstractmethod
    def schedule_over_all_epochs(self, config: TrainerConfig) -> str | None:
        """The name of a learning-rate schedule that another number of epochs would stretch; else None."""

    def config_initial_checkpoint(self, config: TrainerConfig) -> str | None:  # noqa: ARG002
        """The checkpoint that the trainer config itself starts from, as spelled there."""
        return None

    def checkpoint_interval(self, config: TrainerConfig, options: Mapping[str, Option], /) -> int | None:
        """Epochs (iterations) from one checkpoint to the next, here as the script says; None: unknown."""
        said = str({**config.literals, **options}.get(config.saves_every or "", config.saves_every))
        return int(said) if self.unit == "epoch" and said.isdecimal() and int(said) else None

    @abstractmethod
    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """The command line of one start; `inherited` is the environment it will be added to."""

    def incompatible(self, versions: Mapping[str, str]) -> list[str]:  # noqa: ARG002
        """A sentence for each pair of versions of `imports` that is known not to work together."""
        return []

    @abstractmethod
    def unsupported(self, request: LaunchRequest) -> Iterable[str]:
        """One sentence for each part of a request that this trainer's command line cannot express."""

    def named(self, request: LaunchRequest) -> str:
        """The training script, as this kind's command line spells it."""
        return request.entry

    def start_problems(self, request: LaunchRequest, *, certain: bool) -> Iterable[str]:  # noqa: ARG002
        """Sentences on why its command would certainly not start here, or may start what is not meant."""
        return ()

    def observe(self, line: str) -> Observation | None:  # noqa: ARG002
        """What one line of output says, or None."""
        return None

    def rows(self, work_dir: Path, from_byte: int) -> RowsTail | None:
        """Its `metrics` from a byte on, where it has some."""
        return RowsTail(work_dir / self.metrics, from_byte) if self.metrics else None

    def saved_as(self, path: Path) -> SavedAs:  # noqa: ARG002
        """How a checkpoint was saved, and what tells how much of the training it holds."""
        return SavedAs(self.unit)

    def saves_no_optimizer(self, paths: Iterable[Path]) -> bool:
        """Whether it resumes without one, as none of these checkpoints, which know their count, is whole,
        nor may a broken one of another kind of name, as last.pt beside best.pt, have been."""
        if not self.may_lack_optimizer:
            return False
        found = list(paths)
        names, folders = {without_digits(path) for path in found}, {path.parent for path in found}
        files = filter(self.is_called_so, (file for one in folders for file in self.listed(one)))
        others = [file for file in files if without_digits(file) not in names]
        whole = any(self.glance(path).shapes for path in found)
        return not (whole or any(self.glance(path).broken for path in others))

    def saves_in(self, work_dir: Path) -> Path:
        """The folder of its checkpoints, which is the work dir or below it."""
        return work_dir

    def saved(self, work_dir: Path) -> list[Path]:
        """What may be checkpoints, by their names; none where the folder does not exist."""
        return self.listed(self.saves_in(work_dir))

    def listed(self, folder: Path) -> list[Path]:
        """The same of any folder that has some."""
        return checkpoint_files(folder)

    def is_called_so(self, path: Path) -> bool:  # noqa: ARG002
        """Whether a file has a name that the checkpoints of this kind can have."""
        return True

    def checkpoints(self, work_dir: Path, epoch_base: int = 0) -> list[tuple[int, Path]]:
        """Those with an epoch, as (that + the base, path), the newest epoch first, symlinks left out."""
        files = filter(self.is_called_so, self.saved(work_dir))
        return by_epoch(((self.glance(path), path) for path in files), epoch_base)

    def glance(self, path: Path) -> Glance:
        """What a checkpoint says of itself, in the unit of the training."""
        return glance(path, self.saved_as(path))

    def inspect(self, path: Path, epoch_base: int, first: Path) -> CheckpointFacts:
        """The facts of a checkpoint, in the unit of the training."""
        return inspect(path, epoch_base, first, self.saved_as(path))

    def unrecognised(self, work_dir: Path) -> list[tuple[Path, str]]:
        """Files that look like checkpoints and are not understood, with why as the rest of a sentence; where
        no checkpoint is, all that has another name: a start would save over what these were made of. A folder
        that is newer than those with a count, called as they are, and has none, was not saved to its end."""
        counted = {path for _, path in self.checkpoints(work_dir)}
        files = [path for path in self.saved(work_dir) if path not in counted]
        bad = not_understood(files, self.glance)
        if counted:
            series = {without_digits(path) for path in counted if self.saves_folders}
            alike = (path for path in files if without_digits(path) in series and path not in dict(bad))
            newest = max(self.glance(path).stamp[2] for path in counted)
            later = (path for path in alike if self.glance(path).stamp[2] > newest)
            return bad + [(path, f"lacks {self.unit} and optimizer") for path in later]
        others = [path for path in files if not self.is_called_so(path) and path not in dict(bad)]
        return bad + [(path, f"is not called {self.called}") for path in others]

    def best_copies(self, work_dir: Path, epoch_base: int = 0) -> list[tuple[int, Path]]:  # noqa: ARG002
        """Copies of its best, as (epoch or iteration, path), that are not among `checkpoints`."""
        return []

    def left_behind(self, work_dir: Path) -> list[str]:
        """Names of anything in a work dir, links too, that a start of this trainer could overwrite."""
        saved = {str(path.relative_to(work_dir)) for path in self.saved(work_dir)}
        return sorted(saved.union(could_be_overwritten(work_dir, *self.appends_to)))

    @abstractmethod
    def checkpoint_path(self, work_dir: Path, count: int) -> Path:
        """Where the checkpoint of an epoch or iteration will be, as the kind's trainers name it."""
