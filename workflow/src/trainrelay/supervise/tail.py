"""A growing log, read as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MAX_LINE_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024


class Tail:
    """Complete lines of a file that is still being written, each exactly once.

    A line is cut at 64 kB. Of a line that a progress bar overwrote (carriage returns) the last state
    counts. What is not UTF-8 is replaced. Of a file that is there already, `last_bytes` are read, from the
    next line on; None: all of it.
    """

    def __init__(self, path: Path, last_bytes: int | None = None) -> None:
        self._file = path.open("rb")
        self._rest = b""
        if last_bytes is not None and path.stat().st_size > last_bytes:
            self._file.seek(-last_bytes, 2)
            self._file.readline(MAX_LINE_BYTES)

    def lines(self) -> Iterator[str]:
        """Every line completed since the last call."""
        for chunk in self._chunks():
            *complete, rest = (self._rest + chunk).split(b"\n")
            self._rest = _last_state(rest)[:MAX_LINE_BYTES]
            yield from map(_text, complete)

    def remaining(self) -> Iterator[str]:
        """What is still unread, an unfinished last line included; for when the writers are gone."""
        yield from self.lines()
        if self._rest:
            yield _text(self._rest)
        self._rest = b""

    @property
    def read_bytes(self) -> int:
        """How far it has been read; a log that grows without line ends shows here."""
        return self._file.tell()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _chunks(self) -> Iterator[bytes]:
        # Only up to where the file ends now: a writer faster than we are must not keep us here.
        here = self._file.tell()
        unread = self._file.seek(0, 2) - here
        self._file.seek(here)
        while unread > 0 and (chunk := self._file.read(min(unread, _CHUNK_BYTES))):
            unread -= len(chunk)
            yield chunk


def _last_state(line: bytes) -> bytes:
    shown = line.rstrip(b"\r")
    return line[shown.rfind(b"\r") + 1 :]


def _text(line: bytes) -> str:
    return _last_state(line).rstrip(b"\r")[:MAX_LINE_BYTES].decode("utf-8", errors="replace")
