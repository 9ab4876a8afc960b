"""Where a stage's checkpoints lie: its work dir, and those before it, to which others may still write.

A trainer knows nothing of leases. So a supervisor that takes a stage over from one that may still live begins
a work dir of its own, and of the one before it reads only what was there by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainrelay.command import Trainer
from trainrelay.records import EpochBases, Takeover


@dataclass(frozen=True, slots=True)
class WorkDirs:
    """`first` is the config's; each takeover began another one."""

    first: Path
    takeovers: tuple[Takeover, ...] = ()
    kept: Path | None = None  # absolute: where our copy of what the trainer writes over is
    bases: EpochBases = field(default_factory=EpochBases)  # how the trainer counts epochs, as far as known

    @property
    def epoch_base(self) -> int:
        """What to add to a checkpoint's epoch; the lower while it is not known: rather train too much."""
        return self.bases.saved or 0

    @property
    def current(self) -> Path:
        """The one that is written to."""
        return self.all[-1]

    @property
    def all(self) -> tuple[Path, ...]:
        """Oldest first."""
        own = (self.first.with_name(f"{self.first.name}.taken-{one.token}") for one in self.takeovers)
        return (self.first, *own)

    def checkpoints(self, trainer: Trainer) -> list[tuple[int, Path]]:
        """Epochs and files that count, newest epoch first; of one epoch, the latest work dir's first."""
        return sorted(self._counted(trainer), key=lambda found: -found[0])

    def _counted(self, trainer: Trainer) -> Iterator[tuple[int, Path]]:
        yield from trainer.checkpoints(self.current, self.epoch_base)
        for folder, takeover in reversed(list(zip(self.all, self.takeovers, strict=False))):
            for epoch, path in trainer.checkpoints(folder, self.epoch_base):
                if epoch <= takeover.after_epoch:
                    yield epoch, path
        if self.kept is not None:
            yield from trainer.checkpoints(self.kept, self.epoch_base)
