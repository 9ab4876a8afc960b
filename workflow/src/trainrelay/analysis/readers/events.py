"""What a format module sees in a file, in the order of the file; `assemble` makes a Log of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainrelay.records import Marker, Phase


@dataclass(frozen=True, slots=True)
class RowSeen:
    """A line of numbers. `iters_per_epoch` and `max_iters` as far as the line says them.

    `by_iteration` marks trainers that count iterations over the whole run; `key` is equal for two
    copies of one line (None: not known), so that one run's console log and log file are not
    counted twice. `from_zero`: `iteration` counts from 0, so one more is done than it says. An "epoch"
    row without values only says that its epoch was trained.
    """

    epoch: int
    iteration: int
    phase: Phase
    values: Mapping[str, float]
    key: int | None
    iters_per_epoch: int | None = None
    max_iters: int | None = None
    by_iteration: bool = False
    from_zero: bool = False


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """A trainer process introduced itself: what follows is a new start. `rank` if it names it."""

    rank: int | None = None


@dataclass(frozen=True, slots=True)
class EpochsCounted:
    """From which number (0 or 1) the trainer counts epochs, as this file proves; comes before its rows.

    None: nothing proves it, and the rows that follow were taken to count from `taken`.
    """

    first: int | None
    taken: int = 0


@dataclass(frozen=True, slots=True)
class SetupSeen:
    """What the log shows of the machine and of the trainer config."""

    setup: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    max_epochs: int | None = None
    max_iters: int | None = None


@dataclass(frozen=True, slots=True)
class TrainingEnded:
    """A start trained to its end and says how long that took, as printed: `1 day, 0:04:18`."""

    time: str


@dataclass(frozen=True, slots=True)
class LineSkipped:
    """A line that began as a line of numbers and could not be read to its end."""


Event = RowSeen | Marker | ProcessStarted | EpochsCounted | SetupSeen | TrainingEnded | LineSkipped


class Format(Protocol):
    """A log format: one module. `title` is its name in messages."""

    name: str
    title: str

    def claims(self, line: str) -> bool:
        """Whether this line can only come from this format."""
        return self.claiming()(line)

    def claiming(self) -> Callable[[str], bool]:
        """`claims` for the lines of one file, one after the other."""
        return self.claims

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """All events of one file; `lines` keep their line ends."""
        ...

    def rows(self) -> Callable[[str], Iterable[RowSeen]] | None:
        """Of a format whose events come when the whole file is read: what a line shows at once, epochs as
        far as is known by then. None: of any other, and of one that has few lines."""
        return None
