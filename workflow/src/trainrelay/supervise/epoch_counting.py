"""How a trainer counts epochs, learned from what it prints around its saves (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainrelay.checkpoint import Glance
from trainrelay.records import AttemptRecord, EpochBases
from trainrelay.trainers import StepSeen


class EpochCounting:
    """Votes of what an attempt shows; the lowest counts, with what was known before.

    A resume votes by the epoch that it begins with. A file that is written after an epoch's last line, while
    no other begins, was saved after that epoch; so was one with that very number, as no more can have been
    finished. One that a further line of the same epoch follows, or an end there, was saved within it.
    """

    def __init__(self, begun: AttemptRecord, *, learns: bool) -> None:
        known, point, self.learns = begun.epoch_bases, begun.resumed_from, learns
        self._asked = begun.asked
        self._printed, self._resumed = known.printed, point.epoch if point and not point.within else None
        # What has at most this number was there before, whole.
        self._there = -1 if self._resumed is None else self._resumed - (known.saved or 0)
        self._votes: set[int] = set() if known.saved is None else {known.saved}
        self._open = not self._votes
        self._epoch: int | None = None
        self._iteration, self._whole = 0, False  # of it; whether no more of it is to come
        self._of_epoch = False
        self._files: Mapping[Path, Glance] | None = None
        self._writing: dict[Path, int | None] = {}  # what changed last; the epoch when that began
        self._before: int | None = None  # the epoch at the last look
        self._inside = self._far = False  # whether iterations of it are surely to come; more than the last
        # It saves after the last line of an epoch; whether that was at the last look.
        self._saves_after = self._ended = False
        self._over = 0  # the last epoch that is known to be finished
        self._length: int | None = None  # the last iteration that was printed of an epoch
        self._stride = 1  # the most iterations from one line to the next
        self._saved: dict[Path, tuple[int | None, int]] = {}  # where the log was once a file was written
        self.within = dict(begun.within)

    @property
    def bases(self) -> EpochBases:
        """What is known by now."""
        saved = min(self._votes) if self._votes else None
        return EpochBases.model_validate({"printed": self._printed, "saved": saved})

    @property
    def doubt(self) -> str | None:
        """A sentence where checkpoints were seen and votes are missing, or differ."""
        counted = any(seen.number is not None for seen in (self._files or {}).values())
        if not (self.learns and counted) or len(self._votes) == 1:
            return None
        return (
            "its output does not show whether its checkpoints hold the number of finished epochs or one less;"
            " the lower count is used; to choose, set epoch_base in config.yaml"
        )

    def step(self, seen: StepSeen) -> StepSeen:
        """A progress line, its epoch counted from 1."""
        if self._epoch is None:
            if self._resumed is None and self._printed is None and seen.epoch in (1, 2):
                self._printed = 0 if seen.epoch == 1 else 1
            elif self._resumed is not None and self._open:
                self._epoch = seen.counted(self.bases).epoch - 1
                self._vote(self._resumed)
        counted = seen.counted(self.bases)
        same = counted.epoch == self._epoch
        stride = max(1, seen.iteration - self._iteration) if same else 1
        self._whole = seen.iters_per_epoch is None or seen.iteration + stride > seen.iters_per_epoch
        # A line for all of an epoch may come before its save or after.
        self._of_epoch = not seen.iteration and seen.iters_per_epoch is None
        if self._iteration and self._epoch is not None and counted.epoch > self._epoch:
            self._over, self._length = max(self._over, self._epoch), self._iteration
        self._over = max(self._over, counted.epoch) if self._whole else self._over
        # There may be no line for the last iterations.
        more = same if self._length is None else seen.iteration < self._length
        self._inside = more and not self._whole and counted.epoch > self._over
        self._stride = max(self._stride, stride)
        self._far = self._inside and seen.iteration + 2 * self._stride <= (seen.iters_per_epoch or 0)
        self._epoch, self._iteration = counted.epoch, max(seen.iteration, self._iteration if same else 0)
        return counted

    def look(self, files: Mapping[Path, Glance]) -> bool:
        """The files that are there, once all that was printed has been read; whether to look again soon."""
        before = files if self._files is None else self._files
        for path, began in ({} if self._of_epoch else self._writing).items():
            if self._epoch == before[path].number or (self._whole and self._epoch == began):
                self._vote(before[path].number)
        changed = [path for path, seen in files.items() if before.get(path) != seen]
        if self.learns and any(files[path].finished for path in changed):
            self._votes = {0}
        self._saved.update(dict.fromkeys(self._writing, (self._epoch, self._iteration)))
        self._saved = {path: self._saved[path] for path in self._saved.keys() - {*changed} & files.keys()}
        for path, (epoch, iteration) in self._saved.items() if self._inside else ():
            if self._epoch == epoch and self._iteration > iteration:
                self._within(files[path])
        self._writing = {path: self._writing.get(path, self._before) for path in changed}
        if self._ended and self._before and (base := self.bases.saved) is not None:
            self._saves_after |= any(files[path].number == self._before - base for path in changed)
        self._files, self._before, self._ended = files, self._epoch, self._whole
        return bool(changed)

    def finish(self, files: Mapping[Path, Glance], epochs: int | None) -> None:
        """The files at the end; `epochs` where the trainer exited 0, so that all of them are trained."""
        self.look(files)
        self.look(files)
        if epochs is None and (self._far or (self._inside and self._saves_after)):
            for seen in files.values():
                self._within(seen)
        if epochs and self._printed is None and self._epoch in (epochs, epochs + 1):
            # It began with a later epoch: it counts on from another stage's.
            self._printed = 0 if self._epoch == epochs else 1
            self._epoch = epochs
        numbers = {seen.number for seen in files.values() if seen.number is not None}
        newest = max(numbers, default=-1)
        if epochs == newest and self._printed == 1 and self._epoch == newest - 1 and self._whole:
            # More are saved than a count from 1 has finished: it counts on, from the second epoch, from 0.
            self._printed, self._epoch, self._votes = 0, newest, {0} if self.learns else self._votes
        past = self._printed == 0 and self._epoch == (asked := epochs or self._asked) + 1 and self.learns
        last = past and (newest == asked or (not epochs and newest == asked - 1 and 0 not in numbers))
        if last and 0 not in self._votes:
            # One of epoch 0 came before the first; who trains on past the last one is taken for that, too.
            self._printed, self._epoch, self._votes = 1, asked, {vote - 1 for vote in self._votes}
        if epochs is None or self._votes:
            return
        done = self._epoch is None and self._resumed == newest  # it had nothing left to train
        if done or newest == 0 or newest - 1 in numbers:  # it saves every epoch, so this is the last one's
            trained = epochs if self._epoch is None else self._epoch  # no line showed it, or all did
            self._votes.update({trained - newest} & {0, 1} if self.learns else ())

    def _within(self, file: Glance) -> None:
        """A file was saved within the epoch of the last line; only one that says more is of interest."""
        base = 1 if self.bases.saved is None else self.bases.saved
        number = file.number or 0
        if (
            self._epoch
            and self._printed is not None
            and number + base >= self._epoch
            and number > self._there
        ):
            self.within = {**self.within, file.stamp[2]: self._epoch}

    def _vote(self, number: int | None) -> None:
        """A file with this number was saved after the epoch printed last."""
        # Number 0 and the first epoch again: as after a save within it, or an ignored resume.
        if number is None or not self._epoch or self._printed is None or not self.learns:
            return
        if (base := self._epoch - number) in (0, 1):
            self._votes.add(base)
