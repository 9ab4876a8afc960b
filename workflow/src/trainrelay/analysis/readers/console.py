"""What a console log says between its numbers: phrases of a trainer, and Python tracebacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from trainrelay.analysis.readers.clean import clean
from trainrelay.analysis.readers.events import Event
from trainrelay.records import Marker

LINE_LIMIT = 1_000  # as deep as Python recurses; what follows is no traceback

_ERROR = re.compile(
    r"(?:\[[a-z]+\d+\]:\s?)?(?!(?:WARNING|INFO|ERROR|DEBUG|NOTE)\b)((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:: .*)?)$"
)


class Phrase(NamedTuple):
    """What a trainer says in one line. `words` are in each such line, and are found faster than `pattern`."""

    words: str
    pattern: str
    events: Callable[[re.Match[str]], Iterable[Event]]


def phrase_events(line: str, phrases: Iterable[Phrase]) -> Iterator[Event]:
    """The events of all phrases that a line holds."""
    for phrase in phrases:
        if phrase.words in line and (match := re.search(phrase.pattern, line)):
            yield from phrase.events(match)


class Tracebacks:
    """Follows the lines of a file; an error is the line that ends a traceback."""

    def __init__(self) -> None:
        self._left = 0

    def line(self, text: str) -> Iterator[Marker]:
        """The first line after the words that is not indented and names an exception."""
        if "Traceback (most recent call last)" in text:
            self._left = LINE_LIMIT
        elif self._left:
            self._left -= 1
            if match := _ERROR.match(text):
                self._left = 0
                yield Marker("error", clean(match[1]))
