"""owner.json: a work dir has one owner, made known in it once and never changed."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from trainrelay.errors import UserError
from trainrelay.records import Owner
from trainrelay.system.files import (
    read_record,
    sync_folder,
    temporary_beside,
    write_json,
    written_or_explained,
)

NAME = "owner.json"


def owner_of(work_dir: Path) -> Owner | None:
    """Whose a work dir is, None where nobody said; UserError where owner.json is damaged."""
    path = work_dir / NAME
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"{path} is not a regular file; move it away")
    return read_record(path, Owner)


def owner_above(work_dir: Path) -> Owner | None:
    """The owner of the nearest folder around a work dir that has one; files of that name may be anything."""
    for folder in Path(os.path.realpath(work_dir)).parents:
        with suppress(UserError):
            if owner := owner_of(folder):
                return owner
    return None


def claim(work_dir: Path, owner_id: str, folder: Path) -> None:
    """Makes a training known as the owner, unless one is known; `folder` is where its stage.json is."""
    if os.path.lexists(path := work_dir / NAME):
        return
    with written_or_explained(path):
        work_dir.mkdir(parents=True, exist_ok=True)
        # What a killed claim left is ours.
        was_empty = all(entry.name.startswith(".trainrelay-") for entry in work_dir.iterdir())
    put(work_dir, Owner(id=owner_id, was_empty=was_empty, folder=str(folder.absolute())))


def put(work_dir: Path, owner: Owner) -> None:
    """Writes who the owner is into a work dir, unless one is known."""
    aside = temporary_beside(path := work_dir / NAME)
    try:
        write_json(aside, owner)
        with written_or_explained(path):
            _link(aside, path)
            sync_folder(work_dir)
    finally:
        with suppress(OSError):
            aside.unlink()


def _link(aside: Path, path: Path) -> None:
    """Exclusively, and whole or not at all where the file system has hard links."""
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        with path.open("xb") as file:
            file.write(aside.read_bytes())
