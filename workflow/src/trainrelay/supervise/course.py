"""How far a trainer is by its progress lines, a single one of which may be false (pure)."""

from __future__ import annotations

from trainrelay.command import StepSeen


class Course:
    """Follows progress lines; `last` is the newest that is believed, `before` the one that it goes on from.

    A line is believed that goes on from the last one: further in its epoch, or in the next epoch. Any other
    (a copy of another rank, a jump, a step back) is doubted until the next line goes on from it. So a false
    line misleads for one line at most, and a trainer that begins again is followed from its second line on.
    """

    def __init__(self) -> None:
        self.last: StepSeen | None = None
        self.before: StepSeen | None = None
        self._doubted: StepSeen | None = None

    def further(self, seen: StepSeen) -> bool:
        """Takes a line; whether it is believed and is progress."""
        if seen.iters_per_epoch is not None and seen.iteration > seen.iters_per_epoch:
            return False
        if self.last is None or _goes_on(self.last, seen):
            self.before = self.last
        elif self._doubted is not None and _goes_on(self._doubted, seen):
            self.before = self._doubted
        elif _place(seen) == _place(self.last):  # a progress bar shows the same place with newer numbers
            self.last = seen
            return False
        else:
            self._doubted = seen
            return False
        self.last, self._doubted = seen, None
        return True


def _goes_on(last: StepSeen, seen: StepSeen) -> bool:
    if seen.epoch == last.epoch:
        return seen.iteration > last.iteration and seen.iters_per_epoch == last.iters_per_epoch
    return seen.epoch == last.epoch + 1


def _place(seen: StepSeen) -> tuple[int, int, int | None]:
    return seen.epoch, seen.iteration, seen.iters_per_epoch
