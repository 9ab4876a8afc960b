"""What reading a checkpoint can run into, before the file's name is put in front of it.

They stay inside the package: `inspection` turns each into one CheckpointError.
"""

from __future__ import annotations

from trainrelay.text import printable

CUT = "is cut short: whatever wrote it was stopped while it was saving"
EMPTY = "is empty"
_LONGEST = 160  # characters of one text; the dotted names of weights are shorter


class BrokenFile(Exception):
    """Not a checkpoint that can be read; the message is the rest of a sentence about the file."""


class OtherFormat(BrokenFile):
    """Whole, but not as we read it; torch can save it again."""


class UnsafeFile(Exception):
    """It asks for something outside the allow-list; the message names that, `classes` what else it needs."""

    def __init__(self, wish: str, classes: tuple[str, ...] = ()) -> None:
        super().__init__(wish)
        self.classes = classes


def shown(text: str) -> str:
    """Text from inside a hostile file, fit for a terminal: escapes shown, length bounded."""
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")
