"""The archived trainings of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trainrelay.config import StagePaths
from trainrelay.records import Identity
from trainrelay.system.files import inside, read_record


class ArchivedTraining(NamedTuple):
    """A training of this stage that was moved aside, to `stage.old-NUMBER`."""

    number: int
    folder: Path
    identity: Identity


def archived_trainings(paths: StagePaths) -> list[ArchivedTraining]:
    """The archived trainings of a stage, newest first."""
    found = []
    for path in inside(paths.folder.parent):
        name, _, number = path.name.rpartition(".old-")
        identity = read_record(path / paths.identity.name, Identity) if name == paths.folder.name else None
        if identity is not None and number.isdecimal():
            found.append(ArchivedTraining(int(number), path, identity))
    return sorted(found, reverse=True, key=lambda one: one.number)
