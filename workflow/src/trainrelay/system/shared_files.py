"""Small files that others put into a shared folder, read without trust in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def open_safely(path: Path) -> Iterator[int]:
    """A descriptor to read from; neither a pipe nor a link to a device blocks us. OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def append(path: Path, line: bytes) -> int:
    """One more line, in one write, so that those of two writers would not mix; the file's size. OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    try:
        os.write(descriptor, line + b"\n")
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def last_bytes(path: Path, most: int) -> bytes:
    """The end of a regular file; empty if there is none, or none that can be read."""
    with suppress(OSError):
        # Opening a folder makes an NFS client ask the server; a missing name may be answered from its cache.
        if path.name in [one.name for one in path.parent.iterdir()]:
            with open_safely(path) as descriptor:
                found = os.fstat(descriptor)
                if stat.S_ISREG(found.st_mode):
                    return os.pread(descriptor, most, max(0, found.st_size - most))
    return b""
