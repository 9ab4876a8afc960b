"""What a trainer of DETR's family says besides numbers: starts, arguments, parameters, errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from trainrelay.analysis.readers.clean import clean
from trainrelay.analysis.readers.console import Phrase, Tracebacks, phrase_events
from trainrelay.analysis.readers.events import Event, ProcessStarted, SetupSeen, TrainingEnded
from trainrelay.analysis.readers.trainer_config import OPENING, NamespaceReader
from trainrelay.records import Marker

_RANK = re.compile(r"\| distributed init \(rank (\d{1,6})\)")
_PHRASES = (
    Phrase(
        "Start training",
        r"\bStart training(?: for (\d{1,9}) epochs)?\s*$",
        lambda match: [
            Marker("started", clean(match[0])),
            SetupSeen(max_epochs=int(match[1]) if match[1] else None),
        ],
    ),
    Phrase(
        "Starting training from iteration ",
        r"Starting training from iteration (\d{1,12})",
        lambda match: [
            Marker("started", clean(match[0])),
            *([Marker("resumed", clean(match[0]), iteration=int(match[1]))] if int(match[1]) else []),
        ],
    ),
    Phrase("Not using distributed mode", "Not using distributed mode", lambda _: [ProcessStarted(0)]),
    Phrase(
        "number of ",
        r"number of (?:trainable )?param(?:eter)?s:?(?: ?\((\w)\))?: ?([\d.]{1,30})\s*$",
        lambda match: [SetupSeen(setup={"parameters": f"{match[2]} {match[1] or ''}".rstrip()})],
    ),
    Phrase(
        "checkpoint from",
        r"\b[Ll]oad(?:ed|ing)? (?:pre-trained )?checkpoint from:? (\S.*)",
        lambda match: [Marker("loaded", clean(match[1]))],
    ),
    Phrase("Training time ", r"\bTraining time (\d.{0,40})", lambda match: [TrainingEnded(clean(match[1]))]),
)


def introduces(line: str) -> bool:
    """Whether a trainer of this family introduces itself with such a line."""
    return "| distributed init (rank " in line or line.startswith("Not using distributed mode")


class MetricLoggerMarkers:
    """Follows the lines that hold no numbers."""

    def __init__(self) -> None:
        self._tracebacks = Tracebacks()
        self._namespace: NamespaceReader | None = None
        self._ranks = 0

    def line(self, line: str) -> Iterator[Event]:
        """The events of one line; ProcessStarted for a rank's own words and for its arguments."""
        text = line.rstrip()
        yield from self._tracebacks.line(text)
        yield from self._arguments(line)
        yield from phrase_events(text, _PHRASES)
        if match := _RANK.search(text):
            self._ranks = max(self._ranks, int(match[1]) + 1)
            yield ProcessStarted(int(match[1]))
            yield SetupSeen(setup={"ranks": str(self._ranks)})

    def ended(self) -> Iterator[Event]:
        """What a Namespace that was never closed says."""
        if self._namespace is not None:
            yield _facts(self._namespace.literals())
        self._namespace = None

    def _arguments(self, line: str) -> Iterator[Event]:
        if OPENING in line and self._namespace is None:
            self._namespace = NamespaceReader()
            yield ProcessStarted()
        if self._namespace is not None and not self._namespace.feed(line):
            yield from self.ended()


def world_size(arguments: Mapping[str, Any]) -> int | None:
    """How many ranks there are, as the arguments say."""
    ranks = arguments.get("world_size")
    return ranks if _is_count(ranks) else None


def _facts(arguments: Mapping[str, Any]) -> SetupSeen:
    backend, ranks, epochs = arguments.get("dist_backend"), world_size(arguments), arguments.get("epochs")
    setup = {"backend": clean(backend)} if isinstance(backend, str) else {}
    if ranks is not None:
        setup["ranks"] = str(ranks)
    return SetupSeen(setup=setup, config=dict(arguments), max_epochs=epochs if _is_count(epochs) else None)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9
