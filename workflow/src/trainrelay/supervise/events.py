"""events.jsonl: what the supervisors of a stage said, one message per line, to be read on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import orjson
from pydantic import Field, ValidationError

from trainrelay.errors import TrainrelayError
from trainrelay.records import Record
from trainrelay.system.files import append, last_bytes
from trainrelay.text import printable

_MOST_BYTES = 1_000_000  # thousands of events; then the file becomes the old one
_MOST_CHARS = 2000  # of one event: it quotes a few texts of 300 characters at most
_READ_BYTES = 64 * 1024  # hundreds of events, more than a screen shows


class StageEvent(Record):
    """One line of events.jsonl. `at_s` is Unix time by the supervisor's clock; `attempt` was the newest."""

    at_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)
    attempt: int | None
    text: str


def events_file(supervision: Path) -> Path:
    """The file of a stage's events."""
    return supervision / "events.jsonl"


def read_events(supervision: Path) -> list[StageEvent]:
    """The last events, in order, their text printable; lines that are none are left out."""
    lines = last_bytes(events_file(supervision), _READ_BYTES).split(b"\n")
    return [event for line in lines if line and (event := _event(line))]


def add_event(supervision: Path, sentence: str, attempt: int | None) -> None:
    """One more event; OSError if the disk does not take it."""
    event = StageEvent(at_s=time.time(), attempt=attempt, text=printable(sentence)[:_MOST_CHARS])
    path = events_file(supervision)
    if path.exists() and path.stat().st_size >= _MOST_BYTES:
        path.replace(path.with_name("events.old.jsonl"))
    append(path, orjson.dumps(event.model_dump()))


def _event(line: bytes) -> StageEvent | None:
    try:
        event = StageEvent.model_validate_json(line)
    except ValidationError:
        return None
    return event.model_copy(update={"text": printable(event.text[:_MOST_CHARS])})


def recorder(
    supervision: Path, newest_attempt: Callable[[], int | None], may_write: Callable[[], None]
) -> Callable[[str], None]:
    """Keeps sentences as events, as long as `may_write` does not raise; a full disk ends no training."""

    def record(sentence: str) -> None:
        with suppress(OSError, TrainrelayError):
            may_write()
            add_event(supervision, sentence, newest_attempt())

    return record
