"""The log table: what every log format is read into."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, ValuesView
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

# "epoch" is the mean of a training epoch as the trainer prints it, where its rows are something else
# (MetricLogger's rows are medians of the last 20 iterations).
Phase = Literal["train", "val", "epoch"]


class Numbers(Mapping[str, float]):
    """The numbers of a row by their names, of which rows of equal names hold one copy: a long log has more
    rows than a dict for each would leave room for. Of a name that comes twice, the last number counts."""

    __slots__ = ("_places", "packed")

    def __init__(self, names: tuple[str, ...], numbers: Iterable[float]) -> None:
        self._places, self.packed = _places(names), array("d", numbers)
        if len(self._places) < len(names):
            self._places = _places(tuple(self._places))
            last = dict(zip(names, self.packed, strict=True))
            self.packed = array("d", last.values())

    def __getitem__(self, name: str) -> float:
        return self.packed[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self.packed)

    def __repr__(self) -> str:
        return repr(dict(self))

    def values(self) -> ValuesView[float]:
        """In the order of the names."""
        return self.packed  # type: ignore[return-value]  # as a view is used: to iterate


@lru_cache(maxsize=64)
def _places(names: tuple[str, ...]) -> Mapping[str, int]:
    return {name: at for at, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Row:
    """One logged line. `iteration` counts inside the epoch as printed, `step` over the whole run.

    `step` is the number of iterations done, so that the last one of an epoch is the epoch's length, also
    where the trainer prints iterations from 0. `epoch` is 1-based. `segment` counts restarts from 0.
    """

    step: int
    epoch: int
    iteration: int
    phase: Phase
    segment: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Marker:
    """A line that says something about the training besides numbers; `text` of a `loaded` one is the path."""

    kind: Literal["started", "resumed", "loaded", "saved", "mismatch", "error"]
    text: str
    segment: int = 0
    epoch: int | None = None
    iteration: int | None = None


UNKNOWN = "unknown"
"""The format of a log of which no line is known."""


@dataclass(frozen=True, slots=True)
class Log:
    """All logs of one training as one table; overlaps after a resume are resolved, later wins.

    `config` holds the literals of the trainer config that the log prints, flat and dotted, e.g.
    `{"optimizer_config.grad_clip.max_norm": 35}`. `setup` holds what the log tells of the machine
    (`gpus`, `gpu`, `torch`, `cuda`, `backend`, `host`, `work_dir`), as printed. `epochs_only`: the log knows
    no iterations; its training rows are epoch means, `step` is the epoch and `iteration` 0. `restarts`: how
    many segments trained after the first; `superseded`: before a start from zero, with no row here. `gaps`:
    from which step to which one a log is missing, where a later one continued further on. `resumed`: after
    which step a later start continued, and up to which one that was done before.
    """

    format: str
    sources: tuple[str, ...]
    rows: tuple[Row, ...]
    markers: tuple[Marker, ...] = ()
    iters_per_epoch: int | None = None
    max_epochs: int | None = None
    interval: int | None = None
    segments: int = 1
    restarts: int = 0
    superseded: int = 0
    redone_iterations: int = 0
    gaps: tuple[tuple[int, int], ...] = ()
    resumed: tuple[tuple[int, int], ...] = ()
    skipped_lines: int = 0
    epochs_only: bool = False
    setup: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
