"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Found:
    """`fix`: nothing should start before; `note`: worth knowing, or a check had to be left out."""

    kind: Literal["ok", "note", "fix"]
    what: str

    def line(self, where: str = "") -> str:
        """One line of a terminal, whatever `what` holds; `where` is the run or the stage it is about."""
        text = f"{where}: {self.what}" if where else self.what
        return f"{self.kind:4}  " + "".join(char if char.isprintable() else " " for char in text)


def ok(what: str) -> Found:
    """All is as it should be."""
    return Found("ok", what)


def note(what: str) -> Found:
    """Worth knowing."""
    return Found("note", what)


def fix(what: str, how: str) -> Found:
    """What is wrong, and what to run or to set."""
    return Found("fix", f"{what}; {how}")
