"""The archived trainings of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trainrelay.config import StagePaths
from trainrelay.records import Identity
from trainrelay.system.files import read_record


class ArchivedTraining(NamedTuple):
    """A training of this stage that was moved aside, to `stage.old-NUMBER`."""

    number: int
    folder: Path
    identity: Identity


def archived_trainings(paths: StagePaths) -> list[ArchivedTraining]:
    """The archived trainings of a stage, newest first."""
    found = []
    for path in paths.folder.parent.glob(f"{paths.folder.name}.old-*"):
        identity, number = read_record(path / paths.identity.name, Identity), path.suffix[5:]
        if identity is not None and number.isdecimal():
            found.append(ArchivedTraining(int(number), path, identity))
    return sorted(found, reverse=True, key=lambda one: one.number)
