"""What `scontrol show ... --oneliner` prints: key=value words, and times as Slurm writes them (pure)."""

from __future__ import annotations

import re

_KEY = re.compile(r"(?:^|\s)([A-Za-z][\w/:]*)=")
_TIME = re.compile(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,2}))?(?::(\d{1,2}))?")


def records(text: str) -> list[dict[str, str]]:
    """The key=value words of each line; of a duplicate key the first, since free text comes last."""
    lines = (_KEY.split(line) for line in text.splitlines() if line.strip())
    pairs = (list(zip(words[1::2], words[2::2], strict=True)) for words in lines)
    return [{key: value.strip() for key, value in reversed(line)} for line in pairs]


def seconds(text: str) -> int | None:
    """A time such as 7-00:00:00, 30:00 or 45 (minutes); None for UNLIMITED, and for what is no time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    days, first, second, third = (int(part) if part else None for part in found.groups())
    if days is not None or third is not None:  # days-hours[:minutes[:seconds]], hours:minutes:seconds
        return (((days or 0) * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)
    return (first or 0) * 60 + (second or 0)  # minutes[:seconds]
