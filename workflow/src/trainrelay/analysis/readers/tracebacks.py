"""Python tracebacks in a console log, which no logger stamps or bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainrelay.analysis.readers.clean import clean
from trainrelay.analysis.readers.events import MarkerSeen

LINE_LIMIT = 1_000

_ERROR = re.compile(
    r"(?:\[[a-z]+\d+\]:\s?)?(?!(?:WARNING|INFO|ERROR|DEBUG|NOTE)\b)((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:: .*)?)$"
)


class Tracebacks:
    """Follows the lines of a file; an error is the line that ends a traceback."""

    def __init__(self) -> None:
        self._left = 0

    def line(self, text: str) -> Iterator[MarkerSeen]:
        """The first line after the words that is not indented and names an exception."""
        if "Traceback (most recent call last)" in text:
            self._left = LINE_LIMIT
        elif self._left:
            self._left -= 1
            if match := _ERROR.match(text):
                self._left = 0
                yield MarkerSeen("error", clean(match[1]))
