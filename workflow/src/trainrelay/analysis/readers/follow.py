"""A log that is still written: what is appended is read on from where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainrelay.analysis.readers.assemble import table
from trainrelay.analysis.readers.events import Format, RowSeen
from trainrelay.analysis.readers.read import check, detect, detected, read, read_lines, with_own
from trainrelay.analysis.readers.segments import Collector
from trainrelay.errors import LogError
from trainrelay.progress_lines.bars import is_bar
from trainrelay.records import Log, Row

EVERY_S = 0.02  # a look at the file's size costs some microseconds
SHARE = 10  # what took long waits for so many times as long before it is done again


class BeginsAgain(Exception):
    """The file is another one, or shorter than it was."""


def follow(
    path: Path, look: Callable[[Sequence[RowSeen | Row], Callable[[], Log]], None], own: Format | None = None
) -> None:
    """Reads until Ctrl-C; BeginsAgain where the file is replaced or cut. Calls `look` when all that is there
    was read, at first with the newest row, and then every EVERY_S with the rows that came, and what makes
    the table so far. `own`: the lines that the user describes."""
    check(path)
    collected, begun, size = Collector(), path.stat().st_ino, -1
    told, fresh, due_s, shown = -1, False, 0.0, list[RowSeen]()
    collected.open()

    def collects() -> list[RowSeen]:
        return next((one.rows for one in reversed(collected.segments) if one.rows), [])

    def so_far() -> Log:  # some formats tell nothing before the whole file is read
        return table(form.name, (str(path),), collected) if form and collects() else read([path], own=form)

    def lines() -> Iterator[str]:
        of_line = form and form.rows()
        alone = form is not None and detected(path, formats)[0] is None  # bars are of other formats as well
        others = [one.claiming() for one in formats if alone and one is not form]
        for line in read_lines(path, wait, [form] if form else []):
            if not is_bar(line) and any(claims(line) for claims in others):
                raise BeginsAgain
            shown.extend(of_line(line) if of_line else ())
            yield line

    def came() -> Sequence[RowSeen | Row]:
        nonlocal told
        try:
            seen: Sequence[RowSeen | Row] = shown or collects() or so_far().rows
        except LogError:
            return ()
        # A start that followed begins with few; a table without the rows that were done again may have less.
        since = told if 0 <= told <= len(seen) else max(0, len(seen) - 1)
        told = len(seen)
        return seen[since:]

    def wait(whole: bool) -> bool:
        nonlocal size, fresh, due_s
        try:
            now = path.stat()
        except FileNotFoundError:
            raise BeginsAgain from None
        if now.st_size < size or now.st_ino != begun:
            raise BeginsAgain
        read_on = whole or shown or collects()  # a bar's last state ends no line
        grown, new = bool(read_on) and now.st_size > size, list[RowSeen | Row]()
        size, fresh = now.st_size if grown else size, fresh or grown
        if fresh and (before_s := time.monotonic()) >= due_s:
            fresh, new = False, [*came()]
            due_s = before_s + SHARE * (time.monotonic() - before_s)
        look(new, so_far)
        time.sleep(EVERY_S)
        return grown

    formats = with_own(own)
    form = detect(path, formats)
    while form is None:
        form = detect(path, formats) if wait(True) else None
    for event in form.events(lines()):
        collected.add(event)
