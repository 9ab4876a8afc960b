"""The step checkpoints of a stage, saved by trainrelay_hook within an epoch: found, chosen and removed.

Each is a folder of the attempt that saved it, attempts/NNN/steps/STEP. Its manifest is written last: a folder
without one is nothing yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord, StepManifest, StepPoint
from trainrelay.system.files import last_bytes, sha256_of
from trainrelay.text import printable
from trainrelay_hook import files

_STEP = re.compile(r"[0-9]{8}")
_MOST_BYTES = 1024 * 1024  # of a manifest: thousands of ranks


@dataclass(frozen=True, slots=True)
class StepCheckpoint:
    """One whose files are there in the sizes that its manifest names."""

    folder: Path
    manifest: StepManifest

    @property
    def point(self) -> StepPoint:
        """The place in the training that it holds."""
        (epochs, iterations), done = self.reached, self.manifest
        epoch, iteration = (epochs + 1, iterations) if done.epoch else (0, done.step)
        return StepPoint(path=str(self.folder), step=done.step, epoch=epoch, iteration=iteration)

    @property
    def reached(self) -> tuple[int, int]:
        """The epochs that are finished (iterations, if it counts those), and the iterations of the next."""
        done = self.manifest
        if not done.epoch:
            return done.step, 0
        ends = done.iteration == done.epoch_length
        return (done.epoch, 0) if ends else (done.epoch - 1, done.iteration)


@dataclass(frozen=True, slots=True)
class Continued:
    """The training that is continued: a step checkpoint of another one is passed over."""

    attempts: Sequence[AttemptRecord]
    world_size: int
    exact: bool
    code: str | None  # as AttemptRecord's
    hook: bool  # whether the hook is on, which alone can resume from one

    def why_not(self, one: StepCheckpoint) -> str | None:
        """Why it cannot resume from this one; the rest of a sentence about it."""
        place = one.folder.parts[-3:]  # the stage's folder may have been moved
        saved = next((by for by in self.attempts if f"{by.number:03d}" == place[0]), None)
        if not self.hook:
            return "needs the hook, and `hook` is off"
        for by in (by for by in self.attempts if by.not_resumed and by.hook is None):
            if by.resumed_step and Path(by.resumed_step.path).parts[-3:] == place:
                return f"was refused in attempt {by.number} ({by.not_resumed})"
        if one.manifest.world_size != self.world_size:
            return f"is of {one.manifest.world_size} ranks, not of {self.world_size}"
        if one.manifest.exact is not self.exact:
            return f"was saved with exact: {str(one.manifest.exact).lower()}"
        if saved is None or saved.code != self.code:
            before = (saved and saved.code) or "(unknown)"
            return f"was saved by the trainer's code {before}, and that is {self.code or '(unknown)'} now"
        return None


def read_steps(stage_folder: Path) -> tuple[list[StepCheckpoint], list[str]]:
    """All of a stage, the furthest first, of one step the latest; and a sentence for each damaged one."""
    found: list[StepCheckpoint] = []
    damaged: list[str] = []
    for folder in (one for one in _folders(stage_folder) if _STEP.fullmatch(one.name)):
        if content := last_bytes(folder / files.MANIFEST, _MOST_BYTES):
            try:
                found.append(_read(folder, content))
            except UserError as error:
                damaged.append(f"the step checkpoint {printable(folder)} is {error}")
    return sorted(found, key=lambda one: (one.manifest.step, one.folder), reverse=True), damaged


def to_resume_from(
    found: Iterable[StepCheckpoint],
    after: tuple[int, int],
    continued: Continued,
    check: Callable[[StepCheckpoint], str | None] = lambda _: None,
) -> tuple[StepCheckpoint | None, list[str]]:
    """The first that is not before `after` and fits; and a sentence for each that was passed over.

    Where the trainer has saved its own at the end of an epoch, the step checkpoint of then holds more.
    """
    passed: list[str] = []
    for one in found:
        if one.reached < after:
            break
        why = continued.why_not(one) or check(one)
        if why is None:
            return one, passed
        passed.append(f"the step checkpoint {printable(one.folder)} {why}")
    return None, passed


def altered(one: StepCheckpoint) -> str | None:
    """What is wrong with the content of its files; reads them all."""
    for name, written in one.manifest.files.items():
        try:
            if sha256_of(one.folder / name).sha256 != written.sha256:
                return f"is damaged: the sha256 of {name} is not that of its manifest"
        except UserError as error:
            return f"is damaged: {error}"
    return None


def roll(stage_folder: Path, keep: int, running: int | None = None) -> None:
    """Removes each that `keep` others are past, whole or not; those of attempt `running` are its hook's.

    Not counting those of an earlier attempt: an attempt that began before them passed them over.
    """
    whole, _ = read_steps(stage_folder)
    for folder in list(_folders(stage_folder)):
        step, attempt = int(folder.name[: len(files.STEP.format(0))]), folder.parts[-3]
        past = sum(one.manifest.step > step and one.folder.parts[-3] >= attempt for one in whole)
        if past >= keep and attempt != f"{running or 0:03d}":
            files.remove(str(folder))


def _folders(stage_folder: Path) -> Iterator[Path]:
    return (one for one in stage_folder.glob(f"attempts/*/{files.STEPS}/*") if _STEP.match(one.name))


def _read(folder: Path, content: bytes) -> StepCheckpoint:
    try:
        manifest = StepManifest.model_validate_json(content)
    except ValidationError:
        raise UserError("damaged: its manifest cannot be understood") from None
    place = manifest.epoch or manifest.iteration == manifest.step
    if folder.name != files.STEP.format(manifest.step) or not place:
        raise UserError(f"damaged: its manifest is of step {manifest.step}")
    for name, written in manifest.files.items():
        with suppress(OSError):
            if (folder / name).stat().st_size == written.bytes:
                continue
        raise UserError(f"not complete: {name} is not there with its {written.bytes} bytes")
    return StepCheckpoint(folder, manifest)
