"""How far a trainer is by its progress lines, any single one of which may be false (pure)."""

from __future__ import annotations

from trainrelay.trainers import StepSeen


class BelievedProgress:
    """Follows progress lines; `last` is the newest that is believed, `before` the one that it continues.

    A line is believed that continues the last one: further in its epoch, or in the next epoch. Any other
    (a copy of another rank, a jump, a step back) is doubted until the next line continues it. So a false
    line misleads for one line at most, and a trainer that begins again is followed from its second line on.
    """

    def __init__(self) -> None:
        self.last: StepSeen | None = None
        self.before: StepSeen | None = None
        self._doubted: StepSeen | None = None

    def further(self, seen: StepSeen) -> bool:
        """Takes a line; whether it is believed and is progress."""
        last, doubted = self.last, self._doubted
        if last is None or _continues(last, seen):
            self.before = last
        elif doubted and (_continues(doubted, seen) or seen.epoch > doubted.epoch > last.epoch):
            self.before = doubted
        else:
            if _place(seen) == _place(last):  # a progress bar shows newer numbers at the same place
                self.last = seen
            else:
                self._doubted = seen
            return False
        self.last, self._doubted = seen, None
        return True


def _continues(last: StepSeen, seen: StepSeen) -> bool:
    if seen.epoch == last.epoch:
        return seen.iteration > last.iteration and seen.iters_per_epoch == last.iters_per_epoch
    return seen.epoch == last.epoch + 1


def _place(seen: StepSeen) -> tuple[int, int, int | None]:
    return seen.epoch, seen.iteration, seen.iters_per_epoch
