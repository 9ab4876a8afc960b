"""A printed argparse `Namespace(lr=0.0001, resume='', ...)` -> flat literals, never executed."""

from __future__ import annotations

import re
from typing import Any

from trainrelay.analysis.readers import trainer_config

OPENING = "Namespace("
CHARACTER_LIMIT = 200_000  # of a line; a real Namespace has some thousand
LINE_LIMIT = 2_000  # of one that is never closed

_PIECE = re.compile(r"""'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[()\[\]{},]|[^'"()\[\]{},]+""", re.DOTALL)


class NamespaceReader:
    """Cuts a Namespace, on one line or many, into `name=value`; one that is cut keeps what it has.

    Where two processes print theirs into each other, what can be read of both is kept.
    """

    def __init__(self) -> None:
        self._items: list[list[str]] = [[]]
        self._depth = 0
        self._lines = 0

    def feed(self, line: str) -> bool:
        """Reads one more line; whether the Namespace continues after it."""
        _, opening, rest = line.partition(OPENING)
        if opening:
            self._items.append([])
            self._depth = 0
        self._lines += 1
        for piece in _PIECE.findall((rest if opening else line)[:CHARACTER_LIMIT]):
            if piece == ")" and not self._depth:
                return False
            if piece == "," and not self._depth:
                self._items.append([])
            else:
                self._depth = max(0, self._depth + (piece in "([{") - (piece in ")]}"))
                self._items[-1].append(piece)
        return self._lines < LINE_LIMIT

    def literals(self) -> dict[str, Any]:
        """What was read so far; values that are no literals are left out."""
        pairs = ("".join(item).replace("\n", " ").partition("=") for item in self._items)
        said = [f"{name.strip()} = {value.strip()}" for name, equals, value in pairs if equals]
        return trainer_config.parse(said)
