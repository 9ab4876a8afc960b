"""What an mmcv trainer says besides numbers: starts, resumes, loads, saves, config, machine, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from trainrelay.analysis.readers import environment, trainer_config
from trainrelay.analysis.readers.clean import clean
from trainrelay.analysis.readers.events import Event, MarkerSeen, ProcessStarted, SetupSeen
from trainrelay.analysis.readers.tracebacks import Tracebacks

BLOCK_LINE_LIMIT = 50_000

_SAVED = re.compile(r"Saving checkpoint at (\d{1,12}) (epochs|iterations)")
_RESUMED = re.compile(r"resumed (?:from )?epoch:? (\d{1,9}), iter (\d{1,12})")
_STARTED = re.compile(r"Start running, host: (.*?), work_dir: (.*)")
_LOADED = re.compile(r"load checkpoint from (?:[\w.-]+ path: )?(\S.*)")
_LENGTH = re.compile(r"workflow: .*, max: (\d{1,12}) (epochs|iters)")
_MISMATCH = "The model and loaded state dict do not match exactly"


class MmcvMarkers:
    """Follows the lines that hold no numbers. A block (config, environment, mismatch) spans lines
    without a time stamp; `ended` closes it."""

    def __init__(self) -> None:
        self._block: list[str] = []
        self._close: Callable[[list[str]], Iterator[Event]] | None = None
        self._tracebacks = Tracebacks()

    def line(self, line: str, stamped: bool) -> Iterator[Event]:
        """The events of one line; `stamped` where it is a record of the logger."""
        text = line.rstrip()
        if not stamped and self._close is not None and len(self._block) < BLOCK_LINE_LIMIT:
            self._block.append(text)
        yield from self._tracebacks.line(text)
        for words, parse in _PARSERS.items():
            if words in text:
                yield from parse(text)
        self._open(text, stamped)

    def ended(self) -> Iterator[Event]:
        """The events of the block that was open, if any; each line once, if all are there twice."""
        if self._close is not None:
            close, block = self._close, self._block
            self._close, self._block = None, []
            yield from close(block[::2] if block[::2] == block[1::2] else block)

    def _open(self, text: str, stamped: bool) -> None:
        if _MISMATCH in text:
            self._close, self._block = _mismatch, []
        elif stamped and text.endswith(" - Config:"):
            self._close, self._block = _config, []
        elif stamped and text.endswith("Environment info:"):
            self._close, self._block = _environment, []


def _saved(text: str) -> Iterator[Event]:
    if match := _SAVED.search(text):
        count = int(match[1])
        epoch, iteration = (count, None) if match[2] == "epochs" else (None, count)
        yield MarkerSeen("saved", clean(match[0]), epoch, iteration)


def _resumed(text: str) -> Iterator[Event]:
    if match := _RESUMED.search(text):
        yield MarkerSeen("resumed", clean(match[0]), int(match[1]), int(match[2]))


def _started(text: str) -> Iterator[Event]:
    if match := _STARTED.search(text):
        yield MarkerSeen("started", clean(match[0]))
        yield SetupSeen(setup={"host": clean(match[1]), "work_dir": clean(match[2])})


def _loaded(text: str) -> Iterator[Event]:
    if match := _LOADED.search(text):
        yield MarkerSeen("loaded", clean(match[1]))


def _length(text: str) -> Iterator[Event]:
    if match := _LENGTH.search(text):
        count = int(match[1])
        yield SetupSeen(max_epochs=count) if match[2] == "epochs" else SetupSeen(max_iters=count)


def _introduced(_: str) -> Iterator[Event]:
    yield ProcessStarted()


_PARSERS: dict[str, Callable[[str], Iterator[Event]]] = {
    "Saving checkpoint at ": _saved,
    "resumed ": _resumed,
    "Start running, host: ": _started,
    "load checkpoint from ": _loaded,
    "workflow: ": _length,
    " - Environment info:": _introduced,
}


def _config(block: list[str]) -> Iterator[Event]:
    yield SetupSeen(config=trainer_config.parse(block))


def _environment(block: list[str]) -> Iterator[Event]:
    yield SetupSeen(setup=environment.parse(block))


def _mismatch(block: list[str]) -> Iterator[Event]:
    """The counts of what did not match, in words that `records.Marker.text` carries."""
    missing = _listed(block, "missing keys in source state_dict: ")
    unexpected = _listed(block, "unexpected key in source state_dict: ")
    sizes = sum(line.startswith("size mismatch for ") for line in block)
    counts = f"{missing} missing, {unexpected} unexpected, {sizes} of another size"
    yield MarkerSeen("mismatch", f"{_MISMATCH}: {counts}")


def _listed(block: list[str], words: str) -> int:
    return sum(line.count(",") + 1 for line in block if line.startswith(words))
