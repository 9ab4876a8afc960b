"""Archives a training, and restores it: its stage's folder and its work dirs together, or nothing.

The stage's folder leaves first and comes back last, so that a move that was killed leaves a work dir whose
owner is archived: nobody resumes from it or writes to it, and the sentence about it says what to run.
"""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trainrelay.errors import Refusal, UserError
from trainrelay.system.files import below, first_below, sha256_of, sync_folder
from trainrelay.trainers import Trainer
from trainrelay.training.archive import ArchivedTraining
from trainrelay.training.attempts import list_attempts
from trainrelay.training.owners import NAME, owner_of
from trainrelay.training.state import Facts
from trainrelay.training.work_dirs import WorkDirs

Move = tuple[Path, Path]


def next_archive(facts: Facts) -> Path:
    """Where a stage's folder is moved to: stage.old-1, ...; its work dirs get the same number."""
    number, there = 1, [facts.paths.folder, *facts.work_dirs.all]
    while any(os.path.lexists(path.with_name(f"{path.name}.old-{number}")) for path in there):
        number += 1
    return facts.paths.folder.with_name(f"{facts.paths.folder.name}.old-{number}")


def moves_away(facts: Facts) -> list[Move]:
    """What archives the training on disk; Refusal where that would move what was there before it."""
    if problem := facts.lost or not_archived(facts):
        raise Refusal(f"{facts.name}: {problem}")
    there, suffix = [facts.paths.folder, *_outside(facts)], next_archive(facts).suffix
    return [(path, path.with_name(path.name + suffix)) for path in there if path.exists()]


def _outside(facts: Facts) -> list[Path]:
    """Its work dirs that do not move with the stage's folder; none where the config names others now."""
    if facts.identity is None or facts.elsewhere:
        return []
    dirs = facts.work_dirs.all
    return [path for path in dirs if path.exists() and below(path, facts.paths.folder) is None]


def not_archived(facts: Facts) -> str | None:
    """Why the training on disk may not be moved; None: it may."""
    outside, dirs = _outside(facts), (facts.elsewhere or facts.work_dirs).all
    inside = [one for one in dirs if below(one, facts.paths.folder) is not None]
    for path in (*outside, *inside):
        if nested := _nested(path, facts):
            mv = shlex.join(["mv", str(nested), str(path.with_name(f"{path.name}.{nested.name}"))])
            return (
                f"{nested} is the work dir of another training and would be archived with {path}; run: {mv}"
                " (and set work_dir of that training to it)"
            )
    for path in outside:
        owner = facts.owners.get(path)
        if owner is None or not owner.was_empty:
            mv = shlex.join(["mv", str(path), f"{path}{next_archive(facts).suffix}"])
            return (
                f"{path} {'was' if owner else 'may have been'} in use before this training, so it is not"
                f" archived; set another work_dir in the config (this one stays as it is), or run: {mv}"
            )
    return None


def _nested(work_dir: Path, facts: Facts) -> Path | None:
    """A folder inside of a work dir that another training owns."""
    ours = facts.identity and facts.identity.owner
    for path in first_below(work_dir, 2):
        if path.name == NAME and path.parent != work_dir:
            with suppress(UserError):  # files of that name may be anything
                if (owner := owner_of(path.parent)) and owner.id != ours:
                    return path.parent
    return None


def moves_back(facts: Facts, wanted: ArchivedTraining, trainer: Trainer) -> list[Move]:
    """What brings an archived training back and archives the one that is there; nothing is moved yet.

    UserError where its work dir is not found, or its final checkpoint is not as recorded.
    """
    away, places = moves_away(facts), _places(facts, wanted)
    _verify(wanted, places, trainer)
    inside = [home for home, place in places.items() if place.is_relative_to(wanted.folder)]
    back = [(place, home) for home, place in places.items() if place != home and home not in inside]
    for _, home in back:
        if home.exists() and home not in dict(away):
            raise Refusal(facts.not_ours or f"{home} is in the way, so nothing was moved; move it away")
    return [*away, *back, (wanted.folder, facts.paths.folder)]


def _places(facts: Facts, wanted: ArchivedTraining) -> dict[Path, Path]:
    """Each of its work dirs that is there: where it was, and where it is now."""
    places = {}
    for home in WorkDirs(facts.paths.work_dir, wanted.identity.takeovers).all:
        names = sorted(home.parent.glob(f"{glob.escape(home.name)}.old*"))
        names += [home, home.with_name(home.name + wanted.folder.suffix)]
        if (inner := below(home, facts.paths.folder)) is not None:
            names = [wanted.folder / inner]
        for place in filter(Path.is_dir, names):
            owner = owner_of(place)
            # What is in the archived folder is that training's, also where the trainer removed owner.json.
            if (owner and owner.id) == wanted.identity.owner or (owner is None and inner is not None):
                places[home] = place
    if not places:
        trained = wanted.identity.work_dir
        other = f", or set work_dir in the config to where it was trained: {trained}"
        raise UserError(
            f"the work dir of {wanted.folder} was not found at {names[-1]}, so nothing was moved; move it"
            f" back to that place{other if trained not in (None, str(facts.paths.work_dir)) else ''}"
        )
    return places


def _verify(wanted: ArchivedTraining, places: Mapping[Path, Path], trainer: Trainer) -> None:
    attempts = reversed(list_attempts(wanted.folder))
    final = next((one.final_checkpoint for one in attempts if one.final_checkpoint), None)
    found = [path for place in places.values() for _, path in trainer.checkpoints(place)]
    files = [path for path in found if final and path.name == Path(final.file.path).name]
    if final and files and all(sha256_of(path).sha256 != final.file.sha256 for path in files):
        raise Refusal(
            f"{files[0]} is not the recorded final checkpoint of {wanted.folder} (sha256"
            f" {final.file.sha256[:12]}), so nothing was moved; put that file back"
        )


def carry_out(moves: Sequence[Move]) -> None:
    """Each move in turn; UserError where one fails, and those before it are undone."""
    for number, (source, target) in enumerate(moves):
        try:
            source.rename(target)
        except OSError as error:
            for old, new in reversed(moves[:number]):
                new.rename(old)
            why = f"cannot move {source} to {target}: {error.strerror}"
            raise UserError(f"{why}; everything is where it was") from error
        sync_folder(target.parent)
