"""The part of a log that can tell why the training ended."""

from __future__ import annotations

from collections import deque

MAX_LINES = 4000  # of the beginning, and as many of the end: the first failure, and the launcher's summary
_MAX_LINE_CHARS = 4000  # a record quotes 300 of a line; a line without an end must not fill the memory


class RecentLines:
    """The lines since the last progress line but one.

    What comes before was survived. One progress line back, because a rank may print its progress after
    another rank's exception.
    """

    def __init__(self) -> None:
        self._before = _Stretch()
        self._now = _Stretch()

    def add(self, line: str) -> None:
        """The next line of the log."""
        self._now.add(line[:_MAX_LINE_CHARS])

    def progressed(self) -> None:
        """The line added last showed progress."""
        self._before, self._now = self._now, _Stretch()

    def lines(self) -> list[str]:
        """What is kept, in order."""
        return [*self._before.lines(), *self._now.lines()]


class _Stretch:
    def __init__(self) -> None:
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=MAX_LINES)

    def add(self, line: str) -> None:
        (self._first if len(self._first) < MAX_LINES else self._last).append(line)

    def lines(self) -> list[str]:
        return [*self._first, *self._last]
