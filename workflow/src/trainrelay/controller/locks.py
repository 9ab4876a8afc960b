"""Snakemake's lock of a working folder, and what an earlier controller job left of it.

Snakemake does not say who holds its lock. So a controller notes its own lock files; one that is found at a
start is removed only where it is the very lock of a controller job that is no more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from trainrelay.errors import UserError
from trainrelay.records import Record
from trainrelay.system.files import read_record, write_json

_LOCKS = Path(".snakemake/locks")
_NOTE = Path(".snakemake/trainrelay/controller.json")


class LockNote(Record):
    """controller.json: the job that holds, or held, the lock."""

    job: str
    locks: dict[str, str]


def lock_files() -> dict[str, str]:
    """The lock files that are there now: name -> what tells one file of this name from another."""
    try:
        seen = {path.name: path.stat() for path in _LOCKS.iterdir()}
    except OSError:
        return {}  # no folder, or files that go while we look: looked at again
    return {name: f"{one.st_ino}-{one.st_mtime_ns}" for name, one in seen.items()}


def write_note(job: str, locks: Mapping[str, str]) -> None:
    """Notes the lock as this job's."""
    _NOTE.parent.mkdir(parents=True, exist_ok=True)
    write_json(_NOTE, LockNote(job=job, locks=dict(locks)))


def remove_note() -> None:
    """Nothing is held any more."""
    _NOTE.unlink(missing_ok=True)


def lock_state(mine: str, live: Collection[str]) -> Literal["none", "stale", "held"]:
    """Whether the folder is locked; stale: by a controller job that has ended, or by our own earlier run.

    `mine` is our job, and `live` are all jobs of this user that have not ended: a folder may have two paths.
    """
    if not (locks := lock_files()):
        return "none"
    note = None
    with suppress(UserError):  # a damaged note says nothing of whose the lock is
        note = read_record(_NOTE, LockNote)
    if note is None or (note.job != mine and note.job in live):
        return "held"
    known = all(note.locks.get(name) == which for name, which in locks.items())
    return "stale" if known else "held"
