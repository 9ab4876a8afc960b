"""A log that is still written: what is appended is read on from where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trainrelay.analysis.readers.assemble import table
from trainrelay.analysis.readers.events import RowSeen
from trainrelay.analysis.readers.read import check, detect, read, read_lines
from trainrelay.analysis.readers.segments import Collector
from trainrelay.errors import LogError
from trainrelay.records import Log, Row

EVERY_S = 0.02  # a look at the file's size costs some microseconds


class BeginsAgain(Exception):
    """The file is another one, or shorter than it was."""


def follow(path: Path, look: Callable[[RowSeen | Row | None, Callable[[], Log]], None]) -> None:
    """Reads until Ctrl-C; BeginsAgain where the file is replaced or cut. Calls `look` when all that is there
    was read, and then every EVERY_S, with a row that came, if one did, and what makes the table so far."""
    check(path)
    collected, begun, size, last = Collector(), path.stat().st_ino, -1, None
    collected.open()

    def rows() -> list[RowSeen]:
        return next((one.rows for one in reversed(collected.segments) if one.rows), [])

    def so_far() -> Log:  # some formats tell nothing before the whole file is read
        return table(form.name, (str(path),), collected) if form and rows() else read([path])

    def wait(whole: bool) -> bool:
        nonlocal size, last
        now = path.stat() if path.exists() else None
        if now is None or now.st_size < size or now.st_ino != begun:
            raise BeginsAgain
        came, before = whole and now.st_size > size, last
        size = now.st_size if came else size
        with suppress(LogError, IndexError):
            last = (rows() or so_far().rows)[-1] if came else last
        look(last if last != before else None, so_far)
        time.sleep(EVERY_S)
        return came

    form = detect(path)
    while form is None:
        form = detect(path) if wait(True) else None
    for event in form.events(read_lines(path, wait)):
        collected.add(event)
