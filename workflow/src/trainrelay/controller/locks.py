"""Snakemake's lock of a working folder, and what an earlier controller job left of it.

Snakemake does not say who holds its lock. So a controller notes its own lock files; one that is found at a
start is removed only where it is the very lock of a controller job that is no more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from trainrelay.records import Record
from trainrelay.system.files import read_record, write_json

_LOCKS = Path(".snakemake/locks")
_NOTE = Path(".snakemake/trainrelay/controller.json")

Locks = Mapping[str, str]  # file name -> what tells one file of this name from another


class Note(Record):
    """controller.json: the job that holds, or held, the lock."""

    job: str
    locks: dict[str, str]


def found(folder: Path = _LOCKS) -> dict[str, str]:
    """The lock files that are there now."""
    try:
        return {path.name: _which(path) for path in folder.iterdir()}
    except OSError:
        return {}  # no folder, or files that go while we look: looked at again


def _which(path: Path) -> str:
    seen = path.stat()
    return f"{seen.st_ino}-{seen.st_mtime_ns}"


def write_note(job: str, locks: Locks) -> None:
    """Notes the lock as this job's."""
    _NOTE.parent.mkdir(parents=True, exist_ok=True)
    write_json(_NOTE, Note(job=job, locks=dict(locks)))


def remove_note() -> None:
    """Nothing is held any more."""
    _NOTE.unlink(missing_ok=True)


def left_behind(locks: Locks, note: Note | None, mine: str, live: Collection[str]) -> bool:
    """Whether all these are the lock of a controller job that has ended, or of our own job's earlier run."""
    if note is None or (note.job != mine and note.job in live):
        return False
    return all(note.locks.get(name) == which for name, which in locks.items())


def locked_by_another(mine: str, live: Collection[str]) -> bool | None:
    """None: there is no lock. False: there is one, to be removed. True: another's."""
    locks = found()
    if not locks:
        return None
    return not left_behind(locks, read_record(_NOTE, Note), mine, live)
