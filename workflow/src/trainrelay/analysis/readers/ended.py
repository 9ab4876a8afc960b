"""A log without a line of training that is known: how it ended, where its last lines say that."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from trainrelay.analysis.readers.assemble import assemble
from trainrelay.analysis.readers.console import MOST_RANKS, Tracebacks
from trainrelay.analysis.readers.read import read_lines
from trainrelay.progress_lines.causes import end_of, last_words
from trainrelay.records import UNKNOWN, Log, Marker

LAST_LINES = 50  # a failure further up did not end it: a document may quote one
_FEW_LINES = 5  # of an error without a traceback, which the trainer may have caught and printed
_RAISED = re.compile(r"Traceback \(most|what\(\):")
_INSTALLS = re.compile(r'File "[^"]*-packages/(?:pip|conda|setuptools)/')
_TRAINS = re.compile(
    r'File "[^"]*(?:train|torch|tensorflow|keras|jax|mmcv|mmengine|transformers)|^slurmstepd'
)
_RANKS = re.compile(r"\brank\W?\d|torch/distributed/|multiprocessing/spawn|launch\.py")
_JOB_ENDED = re.compile(r"slurmstepd(?:-\S+)?: error: \*\*\* (?:JOB|STEP) (\d{1,12})")
_STREAM = re.compile(r"(?:std)?(?:err|out)")


def ended(paths: Sequence[Path]) -> Log | None:
    """A table without rows; None where nothing of a training failed at the end of the newest log, or of the
    one beside it with the other output of the same job."""
    newest = [path for path in reversed(paths) if _job(path) == _job(paths[-1])]
    found = next(filter(None, map(_failed, newest)), None)
    return assemble(UNKNOWN, [str(path) for path in paths], [found]) if found else None


def _job(log: Path) -> str:
    return _STREAM.sub("", str(log.with_suffix("")))


def _failed(path: Path) -> Sequence[Marker]:
    """The errors of a log that ends with one."""
    tracebacks, found, number, last = Tracebacks(), deque[Marker](maxlen=MOST_RANKS), 0, -1
    raised = trains = ranks = False
    for number, line in enumerate(read_lines(path)):
        if _INSTALLS.search(line):
            return ()
        raised = raised or bool(_RAISED.search(line))
        trains = trains or bool(_TRAINS.search(line))
        ranks = ranks or bool(_RANKS.search(line))
        for marker in tracebacks.line(line.rstrip()):
            over = _JOB_ENDED.match(found[-1].text) if found else None
            if over and f" {over[1]}" not in marker.text:
                found.clear()
            found.append(marker)
            last = number + (LAST_LINES if raised or last_words(marker.text) else _FEW_LINES)
            raised = False
    known = any(end_of(marker.text) not in ("trainer-bug", "killed") for marker in found)
    if number > last or not (known or trains):
        return ()
    return found if ranks else [found[-1]]  # of ranks the first explains
