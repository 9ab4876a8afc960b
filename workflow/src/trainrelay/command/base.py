"""What the rest asks of a trainer kind. One module per kind implements `Trainer`; nothing here does I/O
except listing a work dir."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """Everything that one start of a trainer needs to know; paths as they stand in the config.

    Relative paths are relative to `root`, the trainer's checkout, which is its working directory.
    """

    root: str
    interpreter: str
    launch_module: str  # torch.distributed.launch | torch.distributed.run
    entry: str
    config: str
    work_dir: str
    nproc_per_node: int
    nodes: int
    backend: str  # what dist_params.backend is set to
    master_port: int | None  # None: the launcher's own default is kept
    arguments: tuple[str, ...] = ()  # e.g. --deterministic
    options: Mapping[str, str] = field(default_factory=dict)  # --cfg-options, in order
    env: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    epochs: int | None = None  # None: the trainer config says the same already
    load_from: str | None = None  # None: the trainer config says the same already
    resume_from: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """An argv list and the environment variables it adds to the inherited ones."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class StepSeen:
    """A progress line. `epoch` is 1-based, `iteration` counts inside the epoch."""

    epoch: int
    iteration: int
    iters_per_epoch: int | None
    loss: float | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class ResumeSeen:
    """The trainer's own proof that it resumed: the last finished epoch and the global iteration."""

    epoch: int
    iteration: int


Observation = StepSeen | ResumeSeen


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """What a trainer's config says, read without running it.

    `settings` maps "which file: dotted.key" to the source text of its value; `literals` maps dotted keys to
    the values that can be known without running the file.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    literals: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None  # why it could not be read, in one sentence


class Trainer(Protocol):
    """A trainer kind: how it is started, what it prints, which files it leaves."""

    kind: str

    def read_config(self, root: Path, config: str) -> TrainerConfig:
        """The facts of a trainer config; an unreadable one carries its problem."""
        ...

    def changes_weights(self, setting: str) -> bool:
        """Whether a setting of the config (or an option) belongs to what a training is."""
        ...

    def config_epochs(self, facts: TrainerConfig) -> int | None:
        """The epochs that the trainer config itself asks for; None where it cannot be known."""
        ...

    def schedule_over_all_epochs(self, facts: TrainerConfig) -> str | None:
        """The name of a learning-rate schedule that another number of epochs would stretch; else None."""
        ...

    def config_initial_checkpoint(self, facts: TrainerConfig) -> str | None:
        """The checkpoint that the trainer config itself starts from, as it stands there."""
        ...

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """The command line of one start; `inherited` is the environment it will be added to."""
        ...

    def observe(self, line: str) -> Observation | None:
        """What one line of output says, or None."""
        ...

    def checkpoints(self, work_dir: Path) -> list[tuple[int, Path]]:
        """Epoch checkpoints as (epoch, path), the newest epoch first, symlinks left out."""
        ...

    def left_behind(self, work_dir: Path) -> list[str]:
        """Names of anything in a work dir, links too, that a start of this trainer could overwrite."""
        ...

    def checkpoint_path(self, work_dir: Path, epoch: int) -> Path:
        """Where the checkpoint of an epoch lies, or will lie."""
        ...

    def log_files(self, work_dir: Path) -> list[Path]:
        """The trainer's own logs of all attempts, oldest first; empty if it writes none."""
        ...
