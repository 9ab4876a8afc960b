"""The lines with which the ranks of one start introduce themselves, before the first line of numbers.

A process that introduces itself after an error is another rank of the same start, unless its words prove a
later one: a rank says again which it is; or, where no rank says so, more of them begin than there are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from trainrelay.logs.events import MarkerSeen


@dataclass(slots=True)
class Start:
    """A process introduced itself, at this record of the file; at most one marker of a kind.

    `ranks`: those that said which they are; `said`: how often each of its words came, of a rank its number,
    since the newest error; `failed`: the same before it.
    """

    at: int
    world_size: int = 1
    ranks: set[int] = field(default_factory=set)
    markers: dict[str, MarkerSeen] = field(default_factory=dict)
    said: Counter[int | str] = field(default_factory=Counter)
    failed: Counter[int | str] = field(default_factory=Counter)

    def say(self, words: int | str) -> None:
        """Takes a line of the introduction."""
        self.said[words] += 1
        if isinstance(words, int):
            self.ranks.add(words)

    def fail(self) -> None:
        """An error came."""
        self.failed.update(self.said)
        self.said.clear()

    def repeated_by(self, words: int | str) -> bool:
        """Whether words can only be of a later start, this one having failed before."""
        if self.ranks:
            return isinstance(words, int) and words in self.failed
        return self.failed[words] >= self.world_size
