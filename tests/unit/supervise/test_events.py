"""events.jsonl: what is kept of a supervisor's notes, and what it must never cost."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from trainrelay.errors import Fenced
from trainrelay.supervise import events
from trainrelay.supervise.display import Display
from trainrelay.supervise.events import events_file, read_events, recorder
from trainrelay.trainers import StepSeen


def may() -> None:
    pass


def fenced() -> None:
    raise Fenced("another has it")


def kept(
    folder: Path, newest: int | None = 2, may_write: Callable[[], None] = may
) -> tuple[Display, Console]:
    console = Console(file=io.StringIO())
    return Display(console, "a/b", 1, time.monotonic, recorder(folder, lambda: newest, may_write)), console


def shown(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.removeprefix("a/b: ") for line in console.file.getvalue().splitlines()]


def test_every_note_is_kept_with_its_attempt_and_shown(tmp_path: Path) -> None:
    view, console = kept(tmp_path)
    view.note("attempt 2 starts")
    view.note("tries again")
    lines = [json.loads(line) for line in events_file(tmp_path).read_text().splitlines()]
    assert [(line["attempt"], line["text"]) for line in lines] == [
        (2, "attempt 2 starts"),
        (2, "tries again"),
    ]
    assert shown(console) == ["attempt 2 starts", "tries again"]
    assert [event.text for event in read_events(tmp_path)] == shown(console)


def test_steps_are_shown_alone(tmp_path: Path) -> None:
    view, console = kept(tmp_path)
    view.step(StepSeen(1, 1, None, None, None))
    assert shown(console) == ["epoch 1/1, iteration 1"]
    assert not events_file(tmp_path).exists()


def test_a_fenced_supervisor_keeps_nothing_and_still_shows(tmp_path: Path) -> None:
    view, console = kept(tmp_path, may_write=fenced)
    view.note("too late")
    assert not events_file(tmp_path).exists()
    assert shown(console) == ["too late"]


def test_events_that_cannot_be_written_end_no_training(tmp_path: Path) -> None:
    view, console = kept(tmp_path / "gone")
    view.note("still here")
    (tmp_path / "events.jsonl").mkdir()
    blocked, also = kept(tmp_path)
    blocked.note("still here")
    assert shown(console) == shown(also) == ["still here"]


def test_the_file_stays_small_and_the_last_event_is_always_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_MOST_BYTES", 500)
    view, _ = kept(tmp_path)
    for number in range(100):
        view.note(f"event {number} " + "x" * 100)
        assert read_events(tmp_path)[-1].text.startswith(f"event {number} ")
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 1000


def test_a_note_without_end_is_cut_and_one_with_escapes_is_made_printable(tmp_path: Path) -> None:
    view, _ = kept(tmp_path)
    view.note("\x1b[2J\udcff\n" + "y" * 1_000_000)
    (event,) = read_events(tmp_path)
    assert len(event.text) == 2000
    assert event.text.isprintable()


def test_damaged_and_hostile_lines_are_left_out(tmp_path: Path) -> None:
    view, _ = kept(tmp_path, newest=None)
    events_file(tmp_path).write_bytes(
        b'\xff\xfe\n{"at_s": 1}\n[]\n{"at_s": 1, "attempt": 1, "text": "\\u001b[2J"}\n'
    )
    view.note("sound")
    assert [event.text for event in read_events(tmp_path)] == [r"\x1b[2J", "sound"]
    assert read_events(tmp_path)[-1].attempt is None
