"""Why a work dir cannot be used: it is another's, or gone; and what to run then."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from trainrelay.config import StagePaths
from trainrelay.records import Identity, Owner
from trainrelay.system.files import DOCTOR, below, same_place, unused
from trainrelay.training.archive import archived_trainings
from trainrelay.training.owners import owner_above
from trainrelay.training.work_dirs import WorkDirs


def not_ours(identity: Identity | None, paths: StagePaths, owners: Mapping[Path, Owner | None]) -> str | None:
    """Whose a work dir is, as far as known, and the way out, where it is another's or inside of another's."""
    ours = identity.owner if identity else None
    for folder, owner in owners.items():
        if owner is None or owner.id == ours:
            continue
        for one in archived_trainings(paths):
            if one.identity.owner == owner.id:
                verb = f"trainrelay restore {paths.folder.parent.name}/{paths.folder.name} {one.number}"
                return f"{folder} belongs to the archived {one.folder}; run: {verb}"
        if identity is None and _is_of(paths, folder, owner):
            continue
        mv = shlex.join(["mv", str(folder), str(unused(folder, "old"))])
        return (
            f"{folder} belongs to another training, that of {owner.folder!a}; set another work_dir for this"
            f" stage in the config, or, if that training is given up, run: {mv}"
        )
    if identity is None and (above := owner_above(paths.work_dir)):
        return (
            f"{paths.work_dir} is inside of the work dir of another training, that of {above.folder!a}, and"
            " would be archived with it; set another work_dir for this stage in the config"
        )
    return None


def _is_of(paths: StagePaths, folder: Path, owner: Owner) -> bool:
    """Whether a work dir says that it is the stage's, or was moved together with the stage's folder."""
    was = Path(owner.folder)
    moved = below(folder, paths.folder) is not None and not was.exists()
    return moved or same_place(was, paths.folder.absolute())


def lost(paths: StagePaths, dirs: WorkDirs, owners: Mapping[Path, Owner | None]) -> str | None:
    """What to run where stage.json is missing and something of its training is there."""
    owned = [str(folder) for folder, one in owners.items() if one and _is_of(paths, folder, one)]
    if not (found := [*(f"attempt {one.number}" for one in dirs.attempts), *owned]):
        return None
    return (
        f"{paths.identity} is missing, but {found[-1]} of its training is there; {DOCTOR}; or, to give that"
        f" training up and train from scratch, run: {given_up(paths.folder, dirs)}"
    ).replace("RUN/STAGE", f"{paths.folder.parent.name}/{paths.folder.name}")


def unknown(folder: Path, found: str) -> str:
    """What to run where a work dir holds what no training of ours made."""
    mv = shlex.join(["mv", str(folder), str(unused(folder, "old"))])
    return (
        f"{folder} holds {found}, which was not created by trainrelay; it is neither resumed"
        f" from nor overwritten; to train from scratch, run: {mv} (or set another work_dir in the config)"
    )


def gone(
    folder: Path, identity: Identity | None, dirs: WorkDirs, owners: Mapping[Path, Owner | None]
) -> str | None:
    """Why a training without a checkpoint does not start from scratch: it had one, or its work dir is gone.

    `folder` is the stage's. A disk may not be mounted, and a network file system can look empty for a moment.
    """
    if not dirs.attempts or identity is None:
        return None
    saved = max(one.newest_saved for one in dirs.attempts)
    trained = any(one.last_epoch or one.end in (None, "lost") for one in dirs.attempts)
    known = identity.owner in (None, *(owner.id for owner in owners.values() if owner))
    if not saved and (known or not trained):
        return None
    what = f"held the checkpoint of {dirs.attempts[-1].unit} {saved}" if saved else "held this training"
    return (
        f"{identity.work_dir or dirs.first} {what} and does not now; put it back (is it mounted? was it"
        " moved?) and run the same command again; or, to give that training up and train from scratch, run:"
        f" {given_up(folder, dirs)}"
    )


def given_up(folder: Path, dirs: WorkDirs) -> str:
    """What to run so that a training counts no more and is kept; `folder` is its stage's."""
    there = [folder, *(one for one in dirs.all if one.exists() and below(one, folder) is None)]
    return " && ".join(shlex.join(["mv", str(one), str(unused(one, "old"))]) for one in there)
