"""Slurm takes only so many jobs of a user, an account or a QOS: the next one is submitted later."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_S = 5.0
_MOST_S = 300.0


@dataclass
class LimitPause:
    """Between two submissions while such a limit holds; twice as long each time. The clock never jumps."""

    _until_s: float = 0.0
    _next_s: float = _FIRST_S

    def holds(self, now_s: float) -> bool:
        """Whether it is too early to submit."""
        return now_s < self._until_s

    def refused(self, now_s: float) -> None:
        """The limit was met."""
        self._until_s, self._next_s = now_s + self._next_s, min(2 * self._next_s, _MOST_S)

    def eased(self) -> None:
        """A job was accepted, or one of ours ended."""
        self._until_s, self._next_s = 0.0, _FIRST_S
