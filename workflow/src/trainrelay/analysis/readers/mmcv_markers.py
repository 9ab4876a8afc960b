"""What an mmcv trainer says besides numbers: starts, resumes, loads, saves, config, machine, errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from trainrelay.analysis.readers import trainer_config
from trainrelay.analysis.readers.clean import clean
from trainrelay.analysis.readers.console import Phrase, Tracebacks, phrase_events
from trainrelay.analysis.readers.events import Event, ProcessStarted, SetupSeen
from trainrelay.records import Marker

BLOCK_LINE_LIMIT = 50_000  # more than any config has

OF_A_HEAD = re.compile(r"(?:size mismatch for )?\S*(head|cls|class|fc|final_layer|seg|logits|label)", re.I)
_MISMATCH = "The model and loaded state dict do not match exactly"
# What mmengine says as well.
COMMON = (
    Phrase(
        "Saving checkpoint at ",
        r"Saving checkpoint at (\d{1,12}) epochs",
        lambda match: [Marker("saved", clean(match[0]), epoch=int(match[1]))],
    ),
    Phrase(
        "Saving checkpoint at ",
        r"Saving checkpoint at (\d{1,12}) iterations",
        lambda match: [Marker("saved", clean(match[0]), iteration=int(match[1]))],
    ),
    Phrase(
        "resumed ",
        r"resumed (?:from )?epoch:? (\d{1,9}), iter:? (\d{1,12})",
        lambda match: [Marker("resumed", clean(match[0]), epoch=int(match[1]), iteration=int(match[2]))],
    ),
    Phrase(
        "oad checkpoint from ",
        r"[Ll]oad checkpoint from (?:[\w.-]+ path: )?(\S.*)",
        lambda match: [Marker("loaded", clean(match[1]))],
    ),
)
_PHRASES = (
    *COMMON,
    Phrase(
        "Start running, host: ",
        r"Start running, host: (.*?), work_dir: (.*)",
        lambda match: [
            Marker("started", clean(match[0])),
            SetupSeen(setup={"host": clean(match[1]), "work_dir": clean(match[2])}),
        ],
    ),
    Phrase(
        "workflow: ",
        r"workflow: .*, max: (\d{1,12}) epochs",
        lambda match: [SetupSeen(max_epochs=int(match[1]))],
    ),
    Phrase(
        "workflow: ",
        r"workflow: .*, max: (\d{1,12}) iters",
        lambda match: [SetupSeen(max_iters=int(match[1]))],
    ),
    Phrase(" - Environment info:", " - Environment info:", lambda _: [ProcessStarted()]),
)


class MmcvMarkers:
    """Follows the lines that hold no numbers. A block (config, environment, mismatch) spans lines
    without a time stamp; `ended` closes it."""

    phrases: tuple[Phrase, ...] = _PHRASES
    environment = " - Environment info:"

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
        yield from phrase_events(text, self.phrases)
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
            self._close, self._block = self.config, []
        elif text.endswith(self.environment):
            self._close, self._block = _environment, []

    def config(self, block: list[str]) -> Iterator[Event]:
        """What the printed trainer config says."""
        yield SetupSeen(config=trainer_config.parse(block))


def _environment(block: list[str]) -> Iterator[Event]:
    yield SetupSeen(setup=trainer_config.machine(block))


def _mismatch(block: list[str]) -> Iterator[Event]:
    """The counts of what did not match, in words that `records.Marker.text` carries."""
    missing = _listed(block, "missing keys in source state_dict: ")
    unexpected = _listed(block, "unexpected key in source state_dict: ")
    apart = missing and unexpected and not _modules(missing) & _modules(unexpected)
    sizes = [line for line in block if line.startswith("size mismatch for ")]
    counts = f"{len(missing)} missing, {len(unexpected)} unexpected, {len(sizes)} of another size"
    heads = ", all in heads" if sizes and all(map(OF_A_HEAD.match, sizes)) else ""
    yield Marker("mismatch", f"{_MISMATCH}: {counts}{heads}{', in other modules' if apart else ''}")


def _listed(block: list[str], words: str) -> list[str]:
    return [key for line in block if line.startswith(words) for key in line.removeprefix(words).split(", ")]


def _modules(keys: list[str]) -> set[str]:
    return {key.partition(".")[0].strip() if "." in key else "" for key in keys}
