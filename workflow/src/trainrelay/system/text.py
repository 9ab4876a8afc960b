"""Text from outside, made fit for a terminal and for a record."""

from __future__ import annotations

MAX_EVIDENCE_CHARS = 300


def printable(text: str) -> str:
    """Without control characters, so that no terminal escape gets through; a TAB becomes a space."""
    return "".join(char if char.isprintable() else " " if char == "\t" else "\ufffd" for char in text)


def quoted(text: str) -> str:
    """A line of a log as evidence inside a sentence: one line, printable, at most 300 characters."""
    clean = printable(text.strip())
    return clean if len(clean) <= MAX_EVIDENCE_CHARS else clean[: MAX_EVIDENCE_CHARS - 1] + "…"
