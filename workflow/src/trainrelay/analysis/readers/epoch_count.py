"""From which number a trainer counts epochs in its headers `Epoch: [k]`: 0, unless the file proves 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EpochCount:
    """Gathers the proofs of one file.

    A header [0] proves 0. Of the first summary after each header (summaries count from 1) the same number
    counts for 1, the next one for 0. A header [N] of N epochs proves 1, as does a header [1] with which a
    start begins that resumes nothing.
    """

    def __init__(self) -> None:
        self._headers: set[int] = set()
        self._awaiting: int | None = None
        self._votes = {0: 0, 1: 0}
        self._epochs = 0
        self._fresh = False

    def header(self, epoch: int) -> None:
        """A progress line of training."""
        if self._fresh and epoch == 1:
            self._votes[1] += 1
        self._fresh = False
        if epoch not in self._headers or self._awaiting is not None:
            self._awaiting = epoch
        self._headers.add(epoch)

    def summary(self, number: int) -> None:
        """A number of a summary, as it counts from 1."""
        if self._awaiting is not None and number - self._awaiting in (0, 1):
            self._votes[1 - (number - self._awaiting)] += 1
        self._awaiting = None

    def arguments(self, config: Mapping[str, Any], epochs: int | None) -> None:
        """The trainer's arguments, printed before it trains."""
        self._epochs = max(self._epochs, epochs or 0)
        if "resume" in config:
            self._fresh = not config["resume"] and not config.get("start_epoch")

    def first(self) -> int | None:
        """0 or 1; None where nothing proves either."""
        if 0 in self._headers:
            return 0
        if self._votes[0] != self._votes[1]:
            return 0 if self._votes[0] > self._votes[1] else 1
        return 1 if self._epochs and self._epochs in self._headers else None
