"""Hands a checkpoint on: the verified copy at the place from which the next stage loads it.

At every moment the target is the old file or the new one, whole; the old one stays as `.previous`.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path

from trainrelay.checkpoint.problems import escaped
from trainrelay.errors import CheckpointError, Refusal, UserError
from trainrelay.files import copy_durably, remove_left_overs, sha256_of, sync_folder, temporary_beside
from trainrelay.records import FileDigest


def promote(
    source: Path, target: Path | None, *, expected_sha256: str, overwrite: bool, owned_sha256: str | None
) -> FileDigest:
    """Copies `source`, whose content must still be `expected_sha256`, to `target`; returns what lies there.

    `owned_sha256` is what we promoted there before: any other file is only replaced with `overwrite`.
    A target that holds the expected content already is not touched; None: nothing is copied, only checked.
    """
    if target is None:
        return _checked(_source_digest(source), source, expected_sha256)
    _refuse_what_is_no_file(target)
    _make_folder(target.parent)
    remove_left_overs(target)
    old = sha256_of(target) if target.exists() else None
    if old is not None:
        if old.sha256 == expected_sha256:
            return old
        _refuse_foreign(target, old.sha256, owned_sha256, overwrite)
    return _copy(source, target, expected_sha256)


def previous_of(target: Path) -> Path:
    """Where the file that a promotion replaced is kept."""
    return target.with_name(f"{target.name}.previous")


def _copy(source: Path, target: Path, expected_sha256: str) -> FileDigest:
    def before_replace(copied: FileDigest) -> None:
        _checked(copied, source, expected_sha256)
        if target.exists():
            _keep(target, previous_of(target))

    _refuse_no_source(source)
    return copy_durably(source, target, before_replace)


def _source_digest(source: Path) -> FileDigest:
    _refuse_no_source(source)
    return sha256_of(source)


def _refuse_no_source(source: Path) -> None:
    if not source.is_file():
        raise CheckpointError(
            f"{escaped(source)} is gone: start the workflow again to train the stage that makes it"
        )


def _checked(digest: FileDigest, source: Path, expected_sha256: str) -> FileDigest:
    if digest.sha256 != expected_sha256:
        raise CheckpointError(
            f"{escaped(source)} fails the check sha256: it changed since its training ended "
            f"({digest.sha256[:12]}, recorded was {expected_sha256[:12]}); put the recorded file back, "
            "or remove the stage's train.json and start the workflow again to have it judged anew"
        )
    return digest


def _refuse_what_is_no_file(target: Path) -> None:
    name = escaped(target)
    if target.is_symlink():
        link = shlex.quote(name)
        raise Refusal(
            f"{name} is a symbolic link to {escaped(target.readlink())}: that would replace the link; "
            f"type: rm {link} or name another target under this stage's promotion in the config"
        )
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "not a regular file"
        raise Refusal(
            f"{name} is {kind}: name a file as the target under this stage's promotion in the config"
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {escaped(folder)} ({error.strerror}): name another target under this "
            "stage's promotion in the config"
        ) from error


def _refuse_foreign(target: Path, found: str, owned: str | None, overwrite: bool) -> None:
    if overwrite or found == owned:
        return
    name = escaped(target)
    typed = shlex.quote(name)
    raise Refusal(
        f"{name} was not written by trainrelay and would be replaced: type `overwrite: true` under this "
        f"stage's promotion in the config (it is then kept as {previous_of(Path(name)).name}), or move it: "
        f"mv {typed} {typed}.mine"
    )


def _keep(target: Path, previous: Path) -> None:
    """Gives the old content a second name, without a moment in which the first one is gone."""
    if previous.is_dir() and not previous.is_symlink():
        raise Refusal(f"{escaped(previous)} is a folder where the old checkpoint would be kept: move it away")
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
