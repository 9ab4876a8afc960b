"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainrelay.text import printable


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`fix`: nothing should start before; `note`: worth knowing, or a check had to be left out."""

    kind: Literal["ok", "note", "fix"]
    what: str

    def line(self, where: str = "") -> str:
        """One line of a terminal, whatever `what` holds; `where` is the run or the stage it is about."""
        text = f"{where}: {self.what}" if where else self.what
        return f"{self.kind:4}  {printable(text)}"


def ok(what: str) -> CheckResult:
    """All is as it should be."""
    return CheckResult("ok", what)


def note(what: str) -> CheckResult:
    """Worth knowing."""
    return CheckResult("note", what)


def fix(what: str, how: str) -> CheckResult:
    """What is wrong, and what to run or to set."""
    return CheckResult("fix", f"{what}; {how}")
