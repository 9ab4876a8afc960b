"""owner.json: a work dir has one owner, made known in it once and never changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from trainrelay.errors import UserError
from trainrelay.files import (
    json_bytes,
    read_record,
    sync_folder,
    temporary_beside,
    why_not_written,
    write_bytes,
)
from trainrelay.records import Owner

NAME = "owner.json"


def owner_of(work_dir: Path) -> Owner | None:
    """Whose a work dir is, None where nobody said; UserError where owner.json is damaged."""
    path = work_dir / NAME
    return read_record(path, Owner) if path.is_file() else None


def claim(work_dir: Path, owner_id: str, folder: Path) -> None:
    """Makes a training known as the owner, unless one is known; `folder` is where its stage.json is."""
    path = work_dir / NAME
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        # What a killed claim left is ours.
        was_empty = all(entry.name.startswith(".trainrelay-") for entry in work_dir.iterdir())
        _create(
            path, json_bytes(path, Owner(id=owner_id, was_empty=was_empty, folder=str(folder.absolute())))
        )
    except OSError as error:
        raise UserError(why_not_written(path, error)) from error


def _create(path: Path, data: bytes) -> None:
    """Exclusively, and whole or not at all."""
    aside = temporary_beside(path)
    write_bytes(aside, data)
    try:
        os.link(aside, path)
        sync_folder(path.parent)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        with path.open("xb") as file:  # a file system without hard links
            file.write(data)
    finally:
        aside.unlink()
