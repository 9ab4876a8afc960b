"""A log without a line of training that is known: how it ended, where its last lines say that."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from trainrelay.analysis.readers.assemble import assemble
from trainrelay.analysis.readers.console import MOST_RANKS, Tracebacks
from trainrelay.analysis.readers.read import read_lines
from trainrelay.progress_lines.causes import end_of
from trainrelay.records import UNKNOWN, Log, Marker

LAST_LINES = 50  # a failure further up did not end it: a document may quote one
_INSTALLS = re.compile(r'File "[^"]*/(?:pip|conda|setuptools)/')
_TRAINS = re.compile(r'File "[^"]*(?:train|torch|tensorflow|keras|jax|mmcv|mmengine|transformers)')


def ended(paths: Sequence[Path]) -> Log | None:
    """A table without rows; None where nothing of a training failed at the end of the newest log."""
    tracebacks, found, failed_at, trains = Tracebacks(), deque[Marker](maxlen=MOST_RANKS), 0, False
    for number, line in enumerate(read_lines(paths[-1])):
        if _INSTALLS.search(line):
            return None
        trains = trains or bool(_TRAINS.search(line))
        for marker in tracebacks.line(line.rstrip()):
            found.append(marker)
            failed_at = number
    known = any(end_of(marker.text) != "trainer-bug" for marker in found)
    if not found or number - failed_at > LAST_LINES or not (known or trains):
        return None
    return assemble(UNKNOWN, [str(path) for path in paths], [found])
