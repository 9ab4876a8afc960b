"""What the supervisor is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trainrelay.records import AttemptRecord, EpochBases
from trainrelay.text import printable
from trainrelay.trainers import LaunchRequest, Rung, Trainer
from trainrelay.training.attempts import list_attempts
from trainrelay.training.step_checkpoints import read_steps
from trainrelay.training.work_dirs import WorkDirs


@dataclass(frozen=True, slots=True)
class StepSaving:
    """How the hook saves step checkpoints, as its settings have it."""

    every_s: float
    keep: int
    failures_max: int
    exact: bool


@dataclass(frozen=True, slots=True)
class InitialCheckpoint:
    """What a start from it is to find in the model, as the hook's settings have it."""

    path: str  # absolute
    match_min: float | None


@dataclass(frozen=True, slots=True)
class StageJob:
    """One training of one stage.

    `request` is a template: the rung, the port and the resume point are filled in per attempt. `ladder` holds
    the communication backends, best first. `port` None: a free one is chosen per attempt.
    `most_without_checkpoint` attempts in a row that save no new checkpoint end the launch. `hang_timeout_s`
    None: it follows the measured pace. `probe`: a ladder of several rungs is probed before the first attempt.
    """

    run: str
    stage: str
    stage_dir: Path
    work_dirs: WorkDirs  # absolute
    supervision: Path  # what stays when the training is archived: the lease, requests to stop, events
    asked: int  # epochs, or iterations where the trainer counts those
    world_size: int
    ladder: tuple[Rung, ...]
    trainer: Trainer
    request: LaunchRequest
    port: int | None
    stop_grace_s: float
    warn_s: int  # how long before its time limit a Slurm job asks to be warned at most
    log_name: str = "trainer.log"
    most_without_checkpoint: int = 3
    hang_timeout_s: float | None = None
    hook: bool = True
    steps: StepSaving | None = None  # None: no step checkpoints are saved
    initial: InitialCheckpoint | None = None
    probe: bool = False
    probe_timeout_s: float = 120.0
    code: str | None = None  # the trainer checkout, as AttemptRecord.code
    signature: str | None = None  # as AttemptRecord.signature
    # Raises Interrupted where the next attempt is elsewhere.
    leave_bad_nodes: Callable[[], object] = bool
    # Removes what `keep` lets go, given the guard of the lease and who to tell; None: all stay.
    retain: Callable[[Callable[[], object], Callable[[str], None]], None] | None = None
    tell: Callable[[], object] = bool  # runs `notify`, for as long as it may take
    learns_base: bool = False  # whether the config leaves it open how the trainer's checkpoints count

    def dirs(self, *newest: AttemptRecord) -> WorkDirs:
        """The work dirs and the attempts that wrote to them, the newest as it will be recorded."""
        recorded = (*list_attempts(self.stage_dir), *newest)
        return replace(self.work_dirs, attempts=tuple({one.number: one for one in recorded}.values()))

    def checkpoints(self, *newest: AttemptRecord) -> list[tuple[int, Path]]:
        """Epochs and files that are there now, newest epoch first; whether they are valid is not judged."""
        return self.dirs(*newest).checkpoints(self.trainer)

    def reached(self) -> tuple[int, int]:
        """The epochs that the newest checkpoint holds, of whichever kind, and iterations of the next; (-1, 0)
        for none: until it is known how they count, one may be of epoch 0. Validity is judged at a resume."""
        newest = max((epoch for epoch, _ in self.checkpoints()), default=-1)
        return max([(newest, 0), *(one.reached for one in read_steps(self.stage_dir)[0])])

    def two_networks(self, count: int, *newest: AttemptRecord) -> str | None:
        """Why no file stands for an epoch: the trainer saves two networks, each in its own."""
        same = [path for saved, path in self.checkpoints(*newest) if saved == count]
        for other in same[1:]:
            if self.trainer.glance(other).of_another_network(self.trainer.glance(same[0])):
                return (
                    f"{printable(same[0])} and {printable(other)} are two networks of {self.trainer.unit}"
                    f" {count}, and a training is resumed from one file: save both in one, or, where only one"
                    " counts, move the files of the other to a folder below"
                )
        return None

    def unrecognised(self) -> list[tuple[Path, str]]:
        """Files that look like checkpoints and are none to resume from, each with why."""
        return self.dirs().unrecognised(self.trainer)

    def with_bases(self, bases: EpochBases) -> StageJob:
        """The same job, with what is known by now of how its trainer counts epochs."""
        return replace(self, work_dirs=replace(self.work_dirs, bases=bases))

    def rung(self, name: str) -> Rung:
        """A rung of the ladder by its name."""
        return next(rung for rung in self.ladder if rung.name == name)

    @property
    def name(self) -> str:
        """As you type it: RUN/STAGE."""
        return f"{self.run}/{self.stage}"
