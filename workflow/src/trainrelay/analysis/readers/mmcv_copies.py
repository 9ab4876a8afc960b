"""Records that an mmcv log has twice: each line doubled, or two processes that write into one file.

Such a record is no restart. A process that starts again needs longer than SOON_S to print the same again,
and introduces itself before it logs the same iteration again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from trainrelay.analysis.readers.events import Event, ProcessStarted, RowSeen
from trainrelay.records import Marker

SOON_S = 10.0

_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}")


class Copies:
    """Follows the records of a file."""

    def __init__(self) -> None:
        self._said_s: dict[tuple[str, str], float] = {}  # since the last row or error
        self._place: tuple[int, int] | None = None  # of the last training row of this start

    def without(self, events: Iterable[Event], record: str) -> Iterator[Event]:
        """Those of a record's events that are no copies."""
        for event in events:
            match event:
                case RowSeen():
                    copied = self._copied_row(event)
                case ProcessStarted():
                    copied = self._copied(("process", ""), record)
                case Marker(kind="error"):
                    copied = False
                    self._said_s.clear()
                case Marker():
                    copied = self._copied((event.kind, event.text), record)
                case _:
                    copied = False
            if not copied:
                yield event

    def _copied_row(self, row: RowSeen) -> bool:
        self._said_s.clear()
        if row.phase != "train":
            return False
        before, self._place = self._place, (row.epoch, row.iteration)
        return self._place == before

    def _copied(self, words: tuple[str, str], record: str) -> bool:
        at_s = _seconds(record)
        if at_s is not None and abs(at_s - self._said_s.get(words, float("-inf"))) <= SOON_S:
            return True
        if at_s is not None:
            self._said_s[words] = at_s
        if words[0] != "saved":
            self._place = None
        return False


def _seconds(record: str) -> float | None:
    """The time stamp of a record."""
    stamp = _STAMP.search(record)
    try:
        return datetime.fromisoformat(stamp[0]).replace(tzinfo=UTC).timestamp() if stamp else None
    except ValueError:
        return None
