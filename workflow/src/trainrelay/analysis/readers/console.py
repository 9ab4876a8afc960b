"""What a console log says between its numbers: phrases of a trainer, and how it failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from trainrelay.analysis.readers.clean import clean
from trainrelay.analysis.readers.events import Event
from trainrelay.progress_lines.causes import end_of, last_words
from trainrelay.progress_lines.tracebacks import (
    LoggedError,
    TracebackReader,
    dead_ranks,
    of_rank,
    signal_name,
)
from trainrelay.records import Marker

MOST_RANKS = 10_000  # more than any training has
# One of them is in each line that begins or ends a failure: most lines need no further look.
_WORDS = re.compile(
    r"Traceback|Error|Exception|Interrupt|what\(\):|Watchdog|NCCL op|Timed out|slurmstepd|srun: error"
    r"|Killed|Terminated|Segmentation fault|Bus error|Aborted|\(exitcode: |died with <|stopping|aborting"
    r"|exiting|During handling|The above exc"
)


class Phrase(NamedTuple):
    """What a trainer says in one line. `words` are in each such line, and are found faster than `pattern`."""

    words: str
    pattern: str
    events: Callable[[re.Match[str]], Iterable[Event]]


def phrase_events(line: str, phrases: Iterable[Phrase]) -> Iterator[Event]:
    """The events of all phrases that a line holds."""
    for phrase in phrases:
        if phrase.words in line and (match := re.search(phrase.pattern, line)):
            yield from phrase.events(match)


class Tracebacks:
    """Follows the lines of a file: exceptions, and last words of torch, its launcher, Slurm and the shell."""

    def __init__(self) -> None:
        self._readers: dict[str, TracebackReader] = {}

    def line(self, text: str) -> Iterator[Marker]:
        """An error where a traceback ends, and where another line says how the training ended.

        An exception without a traceback counts only if its cause is known: a trainer may have handled it.
        """
        rank, said = of_rank(text)
        reader = self._readers.get(rank)
        if not (reader and reader.inside) and not _WORDS.search(said):
            return
        if reader is None:
            reader = self._readers[rank if len(self._readers) < MOST_RANKS else ""] = TracebackReader()
        inside = reader.inside
        if found := reader.line(0, said):
            error = LoggedError(rank, *found)
            if inside or end_of(error.text) != "trainer-bug":
                yield Marker("error", clean(error.text))
        elif dead := dead_ranks([said]):
            status = dead[0].status
            how = f"exited with status {status}" if status > 0 else f"was ended by {signal_name(-status)}"
            yield Marker("error", f"{dead[0].rank} {how}")
        elif last_words(said):
            yield Marker("error", clean(said))
