"""A printed argparse `Namespace(lr=0.0001, resume='', ...)` -> flat literals, never executed."""

from __future__ import annotations

from typing import Any

from trainrelay.logs import trainer_config

OPENING = "Namespace("
CHARACTER_LIMIT = 200_000
LINE_LIMIT = 2_000

_PAIRS = {"(": ")", "[": "]", "{": "}"}


class NamespaceReader:
    """Cuts a Namespace, on one line or many, into `name=value`; one that is cut keeps what it has.

    Where two processes print theirs into each other, what can be read of both is kept.
    """

    def __init__(self) -> None:
        self._items: list[str] = []
        self._lines = 0
        self._open()

    def _open(self) -> None:
        self._item: list[str] = []
        self._closing: list[str] = []
        self._quote = ""
        self._escaped = False

    def feed(self, line: str) -> bool:
        """Reads a line on; whether the Namespace goes on after it."""
        _, opening, rest = line.partition(OPENING)
        if opening:
            self._finish_item()
            self._open()
        self._lines += 1
        for char in (rest if opening else line)[:CHARACTER_LIMIT]:
            if not self._read(char):
                return False
        return self._lines < LINE_LIMIT

    def literals(self) -> dict[str, Any]:
        """What was read so far; values that are no literals are left out."""
        self._finish_item()
        pairs = (item.partition("=") for item in self._items)
        return trainer_config.parse([f"{name.strip()} = {value.strip()}" for name, _, value in pairs])

    def _read(self, char: str) -> bool:
        """Takes one character; False for the one that closes the Namespace."""
        if self._quote:
            self._quoted(char)
        elif char == "," and not self._closing:
            self._finish_item()
            return True
        elif char == ")" and not self._closing:
            self._finish_item()
            return False
        else:
            self._plain(char)
        self._item.append(char)
        return True

    def _plain(self, char: str) -> None:
        if char in "'\"":
            self._quote = char
        elif char in _PAIRS:
            self._closing.append(_PAIRS[char])
        elif self._closing and char == self._closing[-1]:
            self._closing.pop()

    def _quoted(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == self._quote:
            self._quote = ""

    def _finish_item(self) -> None:
        item = "".join(self._item).replace("\n", " ").strip()
        self._item = []
        if "=" in item:
            self._items.append(item)
