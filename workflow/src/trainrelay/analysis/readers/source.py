"""Opens a log: refuses what cannot be one, reads what can be line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trainrelay.errors import LogError

PROBE_BYTES = 65536  # in which a binary file shows a byte that no text has
# A longer line is cut, so that a file without line ends cannot fill the memory. The longest real one
# is the first line of a JSON log (32 kB).
LINE_LIMIT = 1 << 20

_NULS = re.compile("\0+")
_TEXT = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), *b"\0\a\b\t\n\v\f\r\x1b"})
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_TAR = slice(257, 262)  # where its files are text, only this tells an archive from a log


def check(path: Path, reads: str) -> None:
    """Refuses what cannot be a text log. Raises LogError; `reads` names the formats."""
    try:
        if not path.is_file():
            other = " is a folder, not a log" if path.is_dir() else " is not a regular file"
            raise LogError(f"{path}{other if path.exists() else ': not found'}; {how(reads)}")
        with path.open("rb") as file:
            head = file.read(PROBE_BYTES)
    except OSError as error:
        raise LogError(f"{path} cannot be read ({error.strerror}); {how(reads)}") from error
    if b"\0" in head and _is_binary(head):
        raise LogError(f"{path} is a binary file, not a log; {how(reads)}")


def lines(path: Path) -> Iterator[str]:
    """The lines with their ends; a carriage return of a progress bar ends a line too.

    NUL bytes are left out. They fill what a crash kept from being written, so what is before them is a
    line that was cut, and what follows is another line.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        while line := file.readline(LINE_LIMIT):
            if "\0" in line:
                yield from filter(None, _NULS.split(line))
            else:
                yield line


def how(reads: str) -> str:
    """What to run instead."""
    return f"trainrelay reads {reads}: run `trainrelay analyze LOG...` with the trainer's own log"


def _is_binary(head: bytes) -> bool:
    """Whether a file that holds NUL bytes holds others, too, that no trainer prints."""
    return head.startswith(_UTF_16) or head[_TAR] == b"ustar" or bool(head.translate(None, _TEXT))
