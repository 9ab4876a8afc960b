"""Text from outside, made fit for a terminal and for a record."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_EVIDENCE_CHARS = 300  # three lines of a terminal, so that the sentence around it is still seen


def printable(text: str) -> str:
    """Without control characters, so that no terminal escape gets through; a TAB becomes a space."""
    return "".join(char if char.isprintable() else " " if char == "\t" else "\ufffd" for char in text)


def quoted(text: str) -> str:
    """A line of a log as evidence inside a sentence: one line, printable, at most 300 characters."""
    clean = printable(text.strip())
    return clean if len(clean) <= MAX_EVIDENCE_CHARS else clean[: MAX_EVIDENCE_CHARS - 1] + "…"


def did_you_mean(got: object, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known; empty where none is close."""
    close = difflib.get_close_matches(str(got), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
