"""attempts/NNN: one folder per start of the trainer, never two writers in one."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from trainrelay.records import AttemptRecord
from trainrelay.system.files import write_json, written_or_explained
from trainrelay.training.attempts import list_attempts

RECORD = "attempt.json"


class NumberTaken(Exception):
    """Another supervisor opened the attempt of this number first."""


def next_number(stage_dir: Path) -> int:
    """The number that the next attempt will have.

    Call it before the attempts are read: then an attempt that another supervisor opens in between either
    is among those read, or has this number, and `open_attempt` notices.
    """
    with written_or_explained(stage_dir / "attempts"):
        (stage_dir / "attempts").mkdir(parents=True, exist_ok=True)
        return (newest_number(stage_dir) or 0) + 1


def newest_number(stage_dir: Path) -> int | None:
    """The number of the newest attempt, None if there is none; OSError if that cannot be seen."""
    try:
        names = [path.name for path in (stage_dir / "attempts").iterdir()]
    except FileNotFoundError:
        return None
    return max((int(name) for name in names if name.isdecimal()), default=None)


def attempt_folder(stage_dir: Path, number: int) -> Path:
    """The folder of an attempt's files."""
    return stage_dir / "attempts" / f"{number:03d}"


def open_attempt(stage_dir: Path, record: AttemptRecord) -> None:
    """Makes an attempt's folder, its record already inside, in one step; NumberTaken if there is one."""
    aside = stage_dir / f".attempt-{secrets.token_hex(6)}"
    target = attempt_folder(stage_dir, record.number)
    try:
        with written_or_explained(target):
            aside.mkdir()
            write_json(aside / RECORD, record)
            try:
                # A folder is never renamed onto one that holds something, and each of ours holds its record.
                aside.rename(target)
            except OSError:
                if target.is_dir():
                    raise NumberTaken from None
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_attempt(stage_dir: Path, record: AttemptRecord) -> AttemptRecord:
    """Replaces an attempt's record."""
    write_json(attempt_folder(stage_dir, record.number) / RECORD, record)
    return record


def open_attempts(stage_dir: Path) -> list[AttemptRecord]:
    """Attempts without an end; UserError if a record is damaged."""
    return [attempt for attempt in list_attempts(stage_dir) if attempt.end is None]
