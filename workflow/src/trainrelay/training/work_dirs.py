"""Where a stage's checkpoints are: its work dir, and those before it, to which others may still write.

A trainer knows nothing of leases. So a supervisor that takes a stage over from one that may still live begins
its own work dir, and of the one before it reads only what was there by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainrelay.checkpoint import SavedAs, is_ended, newest_valid, stamp_of
from trainrelay.config import StagePaths
from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord, CheckpointFacts, EpochBases, Identity, Owner, Takeover, Unit
from trainrelay.system.files import same_place, size_of
from trainrelay.trainers import Trainer, misplaced_checkpoints
from trainrelay.training.attempts import attempt_log, trained_last
from trainrelay.training.owners import NAME as OWNER
from trainrelay.training.owners import owner_of

_SKEW_S = 60.0  # by which the clock of a file server may be behind; with NTP it is less than a second
_PAUSE_S = 600.0  # between two files of one save: what ranks hold is gathered


@dataclass(frozen=True, slots=True)
class WorkDirs:
    """`first` is the config's; each takeover began another one."""

    first: Path
    takeovers: tuple[Takeover, ...] = ()
    kept: Path | None = None  # absolute: where our copy of what the trainer writes over is
    bases: EpochBases = field(default_factory=EpochBases)  # how the trainer counts epochs, as far as known
    attempts: tuple[AttemptRecord, ...] = ()  # that wrote to them

    @property
    def epoch_base(self) -> int:
        """What to add to a checkpoint's epoch; the lower while it is not known: rather train too much."""
        return self.bases.saved or 0

    @property
    def current(self) -> Path:
        """The one that is written to."""
        return self.all[-1]

    @property
    def copies(self) -> tuple[Path, ...]:
        """Where our copy is, and where the one before it is while a folder takes its name."""
        return (self.kept, self.kept / ".before") if self.kept else ()

    @property
    def all(self) -> tuple[Path, ...]:
        """Oldest first."""
        own = (self.first.with_name(f"{self.first.name}.taken-{one.token}") for one in self.takeovers)
        return (self.first, *own)

    def checkpoints(self, trainer: Trainer) -> list[tuple[int, Path]]:
        """Epochs (iterations) and files that count, newest first; of one, the latest work dir's, then those
        saved within the next. While it is not known how they count, that may be as new as one that says less.
        """

        def order(found: tuple[int, Path]) -> tuple[int, bool]:
            within = self.within(found[1]) is not None
            return (within and self.bases.saved is None) - found[0], within

        return sorted(
            (found for found in self._counted(trainer) if not self._not_saved_here(*found, trainer.unit)),
            key=order,
        )

    def of_weights(self, trainer: Trainer) -> dict[int, Path]:
        """By count, the file that holds its weights: saved at its end, by the attempt that trained it last.

        An older one, as a copy of the best that was not replaced, is of weights that were trained again.
        """
        held: dict[int, Path] = {}
        for epoch, path in [*self.checkpoints(trainer), *self._saying(trainer.best_copies, trainer.unit)]:
            last = trained_last(self.attempts, epoch)
            with suppress(OSError, UserError):
                older = last is not None and stamp_of(path)[2] < last.started_s * 1e9
                if not (older or self.within(path) or self._not_saved_here(epoch, path, trainer.unit)):
                    held.setdefault(epoch, path)
        return held

    def newest_valid(
        self, trainer: Trainer, among: Sequence[tuple[int, Path]] | None = None
    ) -> tuple[CheckpointFacts | None, list[str]]:
        """The newest checkpoint that a training can resume from, and a sentence for each that was skipped."""
        found = self.checkpoints(trainer) if among is None else among
        bare = trainer.saves_no_optimizer(path for _, path in found)
        ranks = {path: last.world_size for n, path in found if (last := trained_last(self.attempts, n))}
        of_first = ranks.get(found[-1][1]) if found else None

        def saved_as(path: Path) -> SavedAs:
            return replace(trainer.saved_as(path), ranks=of_first if ranks.get(path) == of_first else None)

        return newest_valid(found, self.epoch_base, self.within, saved_as, without_optimizer=bare)

    def within(self, path: Path) -> int | None:
        """The epoch in the midst of which an attempt saved this file."""
        with suppress(OSError, UserError):
            saved_ns = stamp_of(path)[2]
            return next((one.within[saved_ns] for one in self.attempts if saved_ns in one.within), None)
        return None

    def unrecognised(self, trainer: Trainer) -> list[tuple[Path, str]]:
        """What looks like a checkpoint and is none to resume from, each with why; not `in_first_save`.

        If there is none to resume from, also what the attempts left in other places and forms.
        """
        found = [one for folder in self.all for one in trainer.unrecognised(folder)]
        others = [
            (path, self._not_saved_here(epoch, path, trainer.unit)) for epoch, path in self._counted(trainer)
        ]
        found += [(path, why) for path, why in others if why]
        if self.attempts and all(why for _, why in others):
            for folder in self.all:
                found += misplaced_checkpoints(folder, trainer.saved(folder), self._began_s)
        first = self.in_first_save(trainer)
        return [one for one in found if one[0] != first]

    def in_first_save(self, trainer: Trainer) -> Path | None:
        """The only checkpoint of a training that was stopped within its first save: nothing can be read of
        it, or, of a folder, no optimizer is in it, or not what is saved last.

        After more than an epoch it may have been saved over, but not a folder with a number in its name;
        what was written since is not the trainer's.
        """
        if not all(one.exit_status and not one.newest_saved for one in self.attempts):
            return None
        there = [path for folder in (*self.all, *self.copies) for path in trainer.saved(folder)]
        if len(there) != 1 or not self.attempts or self.is_from_before(there[0]):
            return None
        seen, named = trainer.glance(there[0]), trainer.saves_folders and trainer.saved_as(there[0]).named
        numbered = trainer.saves_folders and any(map(str.isdecimal, there[0].name))
        over_s = max(one.ended_s or 0.0 for one in self.attempts)
        first = all(one.printed and one.printed <= max(1, named or 1) for one in self.attempts)
        waited_s = over_s - seen.stamp[2] / 1e9
        ended = is_ended(there[0])
        in_part = trainer.saves_folders and not (seen.problem or (seen.shapes if ended is None else ended))
        torn = (seen.cut_short and (first or numbered)) or (in_part and first and waited_s < _PAUSE_S)
        return there[0] if torn and waited_s >= -_SKEW_S else None

    def _not_saved_here(self, count: int, path: Path, unit: Unit) -> str | None:
        """Why none of the attempts saved a checkpoint; None: one of them may have.

        Output waits in buffers, so what is printed can be behind: a later count alone is no reason.
        """
        with suppress(OSError, UserError):
            if not size_of(path):
                return "is empty"
        printed = self._newest_printed()
        if not self.attempts or (printed is not None and count <= printed + 1):
            return None
        if self.is_from_before(path):
            return (
                f"is of {unit} {count} and older than the first attempt (if it is of this training: touch it)"
            )
        asked = max(one.asked for one in self.attempts)
        if printed is None or count <= asked + 1:
            return None
        return f"is of {unit} {count}, but only {asked} were asked for and {printed} begun"

    @property
    def _began_s(self) -> float:
        """By the clock that is furthest behind: what was saved since is no older by its own host's clock.

        0 where that is not known: a clock that was ahead has been set right since.
        """
        times, seen = [one.started_s for one in self.attempts], [time.time()]
        with suppress(OSError):
            log = attempt_log((self.kept or self.first).parent, self.attempts[0])
            seen.append(log.stat().st_mtime)
        return min(times) if times[0] <= min(seen) + _SKEW_S else 0.0

    def is_from_before(self, path: Path) -> bool:
        """Older than the first attempt, and than owner.json, which has the file server's time."""
        try:
            saved_s = stamp_of(path)[2] / 1e9
        except (OSError, UserError):
            return False
        try:
            home = next((folder for folder in self.all if folder in path.parents), path.parent)
            owned_s = (home / OWNER).stat().st_mtime
        except OSError:  # of an earlier version, which had none
            owned_s = self._began_s
        return saved_s < min(self._began_s - _SKEW_S, owned_s)

    def _newest_printed(self) -> int | None:
        """The last epoch (iteration) that the attempts printed or resumed from; None: it is not known."""
        printed = [one.printed for one in self.attempts if one.printed is not None]
        if not printed or any(one.printed is None and one.end in (None, "lost") for one in self.attempts):
            return None
        return max(*printed, *(one.resumed_at for one in self.attempts), 0)

    def _counted(self, trainer: Trainer) -> Iterator[tuple[int, Path]]:
        """The epochs that a file holds: of one saved within an epoch, those before it, whatever it says."""
        first = self.in_first_save(trainer)
        for epoch, path in self._saying(trainer.checkpoints, trainer.unit):
            if path != first:
                yield min(epoch, (self.within(path) or epoch + 1) - 1), path

    def _saying(
        self, found_in: Callable[[Path, int], list[tuple[int, Path]]], unit: Unit
    ) -> Iterator[tuple[int, Path]]:
        yield from found_in(self.current, self.epoch_base)
        for folder, takeover in reversed(list(zip(self.all, self.takeovers, strict=False))):
            after = takeover.after_epoch if unit == "epoch" else takeover.after_iteration
            for epoch, path in found_in(folder, self.epoch_base):
                if epoch <= after:
                    yield epoch, path
        for folder in self.copies:
            yield from found_in(folder, self.epoch_base)


def work_dirs_elsewhere(identity: Identity | None, paths: StagePaths, here: Owner | None) -> WorkDirs | None:
    """The work dirs of the training, where they are not the config's; those that you moved are found."""
    if identity is None or identity.work_dir is None or identity.work_dir == str(paths.work_dir):
        return None
    old, new = WorkDirs(Path(identity.work_dir), identity.takeovers), paths.work_dir
    moved = here is not None and here.id == identity.owner
    if moved or not old.first.is_dir() or same_place(new, old.first):
        return None
    there = owner_of(old.first)
    return old if there is None or there.id == identity.owner else None
