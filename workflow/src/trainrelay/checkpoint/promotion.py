"""Promotes a checkpoint: copies it, verified, to where the next stage loads it.

At every moment the target is the old file or the new one, whole; the old one stays as `.previous`, which
never replaces a file that we did not write. Folders are renamed one after the other: killed in between, the
target is missing, and promoting again makes it.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from trainrelay.errors import CheckpointError, Refusal, UserError
from trainrelay.records import FileDigest
from trainrelay.system.files import (
    copy_durably,
    remove_left_overs,
    remove_whole,
    sha256_of,
    sync_folder,
    temporary_beside,
)
from trainrelay.text import printable

_OR_RETRAIN = (
    "or, to train from scratch, move the stage's folder (runs/RUN/STAGE) and its work dir away and run "
    "snakemake again"
)


def promote(
    source: Path, target: Path | None, *, expected_sha256: str, overwrite: bool, owned: Collection[str]
) -> FileDigest:
    """Copies `source`, whose content must still be `expected_sha256`, to `target`; returns what is there.

    `owned` is the sha256 of all that we ever promoted there: another file is only replaced with `overwrite`.
    A target that holds the expected content already is not touched; None: nothing is copied, only checked.
    """
    if target is None:
        _refuse_no_source(source)
        return _checked(sha256_of(source), source, expected_sha256)
    of_folder = source.is_dir()
    there = check_target(
        target, expected_sha256=expected_sha256, overwrite=overwrite, owned=owned, folder=of_folder
    )
    _make_folder(target.parent)
    remove_left_overs(target)
    if there is not None and there.sha256 == expected_sha256:
        return there
    return _copy(source, target, expected_sha256, owned)


def check_target(
    target: Path,
    *,
    expected_sha256: str | None,
    overwrite: bool,
    owned: Collection[str],
    folder: bool = False,
) -> FileDigest | None:
    """What is at the target, None for nothing; Refusal if `promote` must not replace it.

    Changes nothing. `expected_sha256` is None if the checkpoint is not trained yet. `folder`: it is one.
    """
    _refuse_another_form(target, folder)
    if not target.exists():
        return None
    there = sha256_of(target)
    if there.sha256 != expected_sha256:
        _refuse_not_ours(target, there.sha256, owned, overwrite)
    return there


def _copy(source: Path, target: Path, expected_sha256: str, owned: Collection[str]) -> FileDigest:
    def before_replace(copied: FileDigest) -> None:
        _checked(copied, source, expected_sha256)
        if target.exists():
            _keep(target, _kept_as(target, owned))

    _refuse_no_source(source)
    return copy_durably(source, target, before_replace)


def _refuse_no_source(source: Path) -> None:
    if not source.exists():
        raise CheckpointError(f"{printable(source)} is gone: put it back, {_OR_RETRAIN}")


def _checked(digest: FileDigest, source: Path, expected_sha256: str) -> FileDigest:
    if digest.sha256 != expected_sha256:
        raise CheckpointError(
            f"{printable(source)} fails the check sha256: it changed since its training ended "
            f"({digest.sha256[:12]}, recorded was {expected_sha256[:12]}); "
            f"put the recorded file back, {_OR_RETRAIN}"
        )
    return digest


def _refuse_another_form(target: Path, folder: bool) -> None:
    name = printable(target)
    if target.is_symlink():
        link = shlex.quote(name)
        raise Refusal(
            f"{name} is a symbolic link to {printable(target.readlink())}: that would replace the link; "
            f"run: rm {link} or name another target under this stage's promotion in the config"
        )
    if target.exists() and not (target.is_dir() if folder else target.is_file()):
        kind = "a folder" if target.is_dir() else "a file" if target.is_file() else "not a regular file"
        wanted = "a new folder" if folder else "a file"
        raise Refusal(f"{name} is {kind}; set promotion.target of this stage in config.yaml to {wanted}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {printable(folder)} ({error.strerror}): name another target under this "
            "stage's promotion in the config"
        ) from error


def _refuse_not_ours(target: Path, found: str, owned: Collection[str], overwrite: bool) -> None:
    if overwrite or found in owned:
        return
    name = printable(target)
    typed, kept = shlex.quote(name), printable(_kept_as(target, owned).name)
    raise Refusal(
        f"{name} was not written by trainrelay and would be replaced: set `overwrite: true` under this "
        f"stage's promotion in the config (it is then kept as {kept}), or move it with: "
        f"mv {typed} {typed}.mine"
    )


def _kept_as(target: Path, owned: Collection[str]) -> Path:
    """Where the replaced file is kept: `.previous` if that is free or ours, else the first free number."""
    first = target.with_name(f"{target.name}.previous")
    if first.exists() and not first.is_symlink() and sha256_of(first).sha256 in owned:
        return first
    later = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain((first,), later) if _is_free(name, target))


def _is_free(name: Path, target: Path) -> bool:
    """Nothing is there, or what a killed promotion kept there already."""
    return not os.path.lexists(name) or (name.is_file() and not name.is_symlink() and name.samefile(target))


def _keep(target: Path, previous: Path) -> None:
    """Gives the old content a second name, without a moment in which the first one is gone."""
    if target.is_dir():
        if previous.exists():  # ours, as `_kept_as` saw
            remove_whole(previous)
        target.rename(previous)
        return
    aside = temporary_beside(target)
    try:
        os.link(target, aside)
    except OSError:  # a file system without hard links
        copy_durably(target, previous)
        return
    try:
        aside.replace(previous)
        sync_folder(previous.parent)
    finally:
        # Replacing a name by another one of the same file does nothing and leaves both.
        with suppress(FileNotFoundError):
            aside.unlink()
