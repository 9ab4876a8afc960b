"""Text from outside, made safe to print: no escape sequences, no control characters, bounded length."""

from __future__ import annotations

import re
from functools import lru_cache

_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
NAME_LIMIT = 200
TEXT_LIMIT = 500


def strip_escapes(line: str) -> str:
    """The line without terminal escape sequences."""
    return _ESCAPE.sub("", line) if "\x1b" in line else line


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """Printable characters only, trimmed, at most `limit` of them."""
    text = strip_escapes(text[: 4 * limit])
    return "".join(char for char in text if char.isprintable()).strip()[:limit]


@lru_cache(maxsize=4096)
def metric_name(raw: str) -> str:
    """A metric's name; the same object for each row, so that a table of rows stays small."""
    return clean(raw, NAME_LIMIT)
