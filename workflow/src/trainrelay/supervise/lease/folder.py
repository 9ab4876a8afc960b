"""The files of a lease folder: claims made exclusively, beats replaced, both read without trust in them.

A claim is written aside, synced and linked to its name: it appears complete or not at all, and only one of
two writers gets the name, also over NFS. The folder is listed again for each question, because opening a
folder makes an NFS client ask the server, while looking for a missing name may be answered from its cache.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from trainrelay.errors import RecordError, UserError
from trainrelay.records import Record
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.system.files import DOCTOR, json_bytes, regular_file, sync, sync_folder

R = TypeVar("R", bound=Record)

KEPT = 8  # claims kept below the highest one, so that you can see later what happened

_CLAIM = re.compile(r"([0-9]{6,12})\.json")
_OURS = re.compile(r"\.?([0-9]{6,12})\.(?:json|beat|[0-9a-f]{16}\.tmp)")
_MAX_BYTES = 16 * 1024  # every field of a claim is bounded: none of ours comes near
_TRIES = 5  # what changes while it is read was changed by a rename, so the next try finds it whole
_IRREGULAR = "is not a regular file"
_ODD = {errno.ELOOP: "is a symbolic link", errno.EINVAL: _IRREGULAR, errno.EISDIR: _IRREGULAR}
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP)


def claim_file(folder: Path, token: int) -> Path:
    """The file of the claim with this token."""
    return folder / f"{token:06d}.json"


def beat_file(folder: Path, token: int) -> Path:
    """The file of the beat of the claim with this token."""
    return folder / f"{token:06d}.beat"


# ---------------------------------------------------------------------- reading


def highest(folder: Path) -> int:
    """The highest token that was ever given, 0 where none was; UserError if the folder is unreadable."""
    with _read_or_explained(folder):
        try:
            names = {path.name for path in folder.iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            return 0
    tokens = [int(found[1]) for name in names if (found := _CLAIM.fullmatch(name))]
    return max((token for token in tokens if claim_file(folder, token).name in names), default=0)


def read_claim(folder: Path, token: int) -> Claim | None:
    """A claim, None if there is none; UserError if it is damaged."""
    path = claim_file(folder, token)
    data = _content(path)
    if data is None:
        return None
    claim = _parsed(data, Claim)
    if claim is None or claim.token != token:
        raise _damaged(path, "is damaged")
    return claim


def top_claim(folder: Path) -> Claim | None:
    """The claim with the highest token, None if there is none."""
    for _ in range(_TRIES):  # a claim only vanishes if you remove it
        token = highest(folder)
        if token == 0 or (claim := read_claim(folder, token)) is not None:
            return claim if token else None
    raise UserError(
        f"the claims in {folder} vanish while they are read; leave them, then run the command again"
    )


def read_beat(folder: Path, token: int) -> bytes | None:
    """The bytes of a beat, None if there is none; a torn one is bytes like any others."""
    return _content(beat_file(folder, token))


def parsed_beat(data: bytes | None) -> Beat | None:
    """A beat that can be understood; None if there is none or a power cut tore it."""
    return None if data is None else _parsed(data, Beat)


def _parsed(data: bytes, model: type[R]) -> R | None:
    try:
        return model.model_validate_json(data)
    except ValidationError:
        return None


def _content(path: Path) -> bytes | None:
    with _read_or_explained(path):
        for tries_left in reversed(range(_TRIES)):
            try:
                with regular_file(path, os.O_NOFOLLOW) as file:
                    return file.read(_MAX_BYTES)
            except FileNotFoundError:
                return None
            except OSError as error:
                # Over NFS: replaced on its server while we read it here.
                if error.errno != errno.ESTALE or not tries_left:
                    raise
    raise AssertionError("the last try returns or raises")


@contextmanager
def _read_or_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _ODD:
            raise _damaged(path, _ODD[error.errno]) from None
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; fix that, then run the same command again"
        ) from error


def _damaged(path: Path, what: str) -> RecordError:
    """`path` is RUN/.STAGE/lease/NAME."""
    stage = f"{path.parents[2].name}/{path.parents[1].name.removeprefix('.')}"
    why = f"{path} {what}, so it is unknown who holds this stage"
    return RecordError(f"{why}; {DOCTOR.replace('RUN/STAGE', stage)}", path)


# ---------------------------------------------------------------------- writing


def add_claim(folder: Path, claim: Claim) -> bool:
    """Makes a claim under its token; False if another has that token. OSError if it cannot."""
    target = claim_file(folder, claim.token)
    with _aside(target, claim, synced=True) as aside:
        made = _linked(aside, target, claim)
        sync_folder(folder)
    return made


def _linked(aside: Path, target: Path, claim: Claim) -> bool:
    try:
        os.link(aside, target)
    except FileExistsError:
        # An NFS server that answers a repeated request says so of a link that it made for us.
        there = read_claim(target.parent, claim.token)
        return there is not None and there.owner == claim.owner
    except FileNotFoundError:  # tidied away by an owner far ahead of this token
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise UserError(
                f"the file system of {target.parent} makes no hard links, without which two supervisors"
                " cannot be kept apart; set `out` in config.yaml to a folder on another file system"
            ) from error
        raise
    return True


def write_beat(folder: Path, token: int, beat: Beat) -> None:
    """Replaces a beat; OSError if it cannot be written.

    Not synced: it must be seen by others, not outlive a power cut that ends its owner as well, and a sync may
    take long while a trainer writes checkpoints.
    """
    target = beat_file(folder, token)
    with _aside(target, beat, synced=False) as aside:
        aside.replace(target)


def tidy(folder: Path, token: int) -> None:
    """Removes what belongs to claims far below `token`, which is the highest; what stays does no harm.

    They are never needed: an owner so old finds a higher token, and who comes late and makes a claim under
    such a token looks for a higher one before it does anything.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if (found := _OURS.fullmatch(path.name)) and int(found[1]) < token - KEPT:
                path.unlink(missing_ok=True)


@contextmanager
def _aside(target: Path, record: Record, *, synced: bool) -> Iterator[Path]:
    """A complete file that is to become `target`, gone afterwards."""
    aside = target.with_name(f".{target.stem}.{secrets.token_hex(8)}.tmp")
    try:
        with aside.open("xb") as file:
            file.write(json_bytes(target, record))
            if synced:
                sync(file)
        yield aside
    finally:
        with suppress(OSError):
            aside.unlink()
