"""A growing log, read as it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

MAX_LINE_BYTES = 64 * 1024  # lines of progress have hundreds; what never ends a line must not fill the memory
_CHUNK_BYTES = 256 * 1024  # four of the longest lines
_KNOWN_BYTES = 64  # read last, a line or so: where others are there now, the file was written again


class Tail:
    """Complete lines of a file that is still being written, each exactly once.

    A line is cut at 64 kB. Of a line that a progress bar overwrote (carriage returns) the last state counts,
    and, as a separate line, the one before it: the bar at whose place the rest was printed. What is not
    UTF-8 is replaced. Of a file that is there already, `last_bytes` are read, from the next line on; None:
    all of it. A file that comes later, or was truncated, is read from its start. Where a rotation put a newer
    file in its place, both are read: a writer that has the old one open continues there.
    """

    def __init__(self, path: Path, last_bytes: int | None = None) -> None:
        self._path = path
        self._file = (path if path.is_file() else Path(os.devnull)).open("rb")
        self._newer: Tail | None = None
        self._rest = self._known = b""  # the line that has not ended; what was read last
        self._overwritten = False
        self._read_bytes = 0
        if last_bytes is not None and os.fstat(self._file.fileno()).st_size > last_bytes:
            self._file.seek(-last_bytes, 2)
            self._file.readline(MAX_LINE_BYTES)

    def lines(self) -> Iterator[str]:
        """Every line completed since the last call."""
        for chunk in self._chunks():
            *complete, rest = (self._rest + chunk).split(b"\n")
            self._overwritten = b"\r" in rest or (self._overwritten and not complete)
            self._rest = _last_states(rest)[:MAX_LINE_BYTES]
            yield from chain.from_iterable(map(_states, complete))
        self._look_for_newer()
        yield from self._newer.lines() if self._newer else ()

    def remaining(self) -> Iterator[str]:
        """What is still unread, an unfinished last line included; for when the writers are gone."""
        yield from self.lines()
        for tail in (self, self._newer):
            if tail and tail._rest:
                yield from _states(tail._rest)
                tail._rest = b""

    @property
    def bar(self) -> str:
        """The state of a progress bar, which ends no line for an epoch; empty if there is none."""
        own = _states(self._rest)[-1] if self._overwritten else ""
        return (self._newer.bar if self._newer else "") or own

    @property
    def read_bytes(self) -> int:
        """How much has been read; a log that grows without line ends shows here."""
        return self._read_bytes + (self._newer.read_bytes if self._newer else 0)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        if self._newer:
            self._newer.close()

    def _look_for_newer(self) -> None:
        with suppress(OSError):  # what cannot be opened now is looked for again
            known = [os.fstat(tail._file.fileno()) for tail in (self, self._newer) if tail]
            if self._path.is_file() and not any(os.path.samestat(self._path.stat(), one) for one in known):
                if self._newer:
                    self._newer.close()
                self._newer = Tail(self._path)

    def _chunks(self) -> Iterator[bytes]:
        # Only up to where the file ends now: a writer faster than we are must not keep us here.
        here, known = self._file.tell(), len(self._known)
        if known and os.pread(self._file.fileno(), known, here - known) != self._known:
            here, self._rest, self._known = 0, b"", b""
        unread = self._file.seek(0, 2) - here
        self._file.seek(here)
        while unread > 0 and (chunk := self._file.read(min(unread, _CHUNK_BYTES))):
            unread -= len(chunk)
            self._read_bytes += len(chunk)
            self._known = (self._known + chunk)[-_KNOWN_BYTES:]
            yield chunk


class RowsTail(Tail):
    """The rows that are added to a table from a byte on, before them the names of its columns."""

    def __init__(self, path: Path, from_byte: int) -> None:
        super().__init__(path)
        self._first = b""
        if os.fstat(self._file.fileno()).st_size >= from_byte > 0:
            first = self._file.readline(MAX_LINE_BYTES)
            self._first = b"" if first.startswith(b"{") else first
            self._file.seek(max(0, from_byte - _KNOWN_BYTES))
            self._known = self._file.read(from_byte - self._file.tell())

    def lines(self) -> Iterator[str]:
        """Every row completed since the last call."""
        if self._first:
            yield from _states(self._first.rstrip(b"\n"))
            self._first = b""
        yield from super().lines()


def _last_states(line: bytes) -> bytes:
    """The last state, behind the one before it that is not blank."""
    cut = line.rstrip(b"\r").rfind(b"\r")
    before = line[: max(cut, 0)].rstrip(b"\r ")
    shown = before[before.rfind(b"\r") + 1 :]
    return (shown + b"\r" if shown else b"") + line[cut + 1 :]


def _states(line: bytes) -> list[str]:
    """These as text."""
    states = _last_states(line).rstrip(b"\r").rsplit(b"\r", 1)
    return [state[:MAX_LINE_BYTES].decode("utf-8", errors="replace") for state in states]
