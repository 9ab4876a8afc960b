"""The zip file that torch.save writes (torch 1.6 and later), opened without trusting it.

torch finds the same archive as we do only if the file starts with it, each name stands once in it and
nothing is compressed; anything else could show us one checkpoint and torch another, so it is refused.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from trainrelay.checkpoint.problems import Broken, shown
from trainrelay.files import CHUNK_BYTES

MOST_PICKLE_BYTES = 256 * 1024 * 1024
_LEGACY = "is in the format of torch before 1.6"
_DAMAGED = (
    zipfile.BadZipFile,
    EOFError,
    struct.error,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    MemoryError,
    RuntimeError,
    OSError,
)


class Archive:
    """The members of one checkpoint by name; `file` is open and its size known."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        _refuse_other_formats(file, size)
        with damage_named():
            self._zip = zipfile.ZipFile(file)
        self._members = {member.filename: member for member in self._zip.infolist()}
        self._refuse_tricks(size)
        self._prefix = self._find_prefix()

    def pickle(self) -> bytes:
        """The pickle that says how everything hangs together."""
        name = f"{self._prefix}data.pkl"
        if self._members[name].file_size > MOST_PICKLE_BYTES:
            raise Broken("holds a pickle that is larger than any checkpoint's")
        return b"".join(self.chunks(name))

    def storage_name(self, key: str) -> str:
        """The member that holds a storage's bytes."""
        return f"{self._prefix}data/{key}"

    def size(self, name: str) -> int | None:
        """Bytes of a member, None where there is none."""
        member = self._members.get(name)
        return None if member is None else member.file_size

    def names(self) -> list[str]:
        """Every member in the order of the file."""
        return list(self._members)

    def big_endian(self) -> bool:
        """Whether the machine that wrote it was; torch before 2.1 does not say and is little."""
        name = f"{self._prefix}byteorder"
        return (
            name in self._members
            and self._members[name].file_size == 3
            and b"".join(self.chunks(name)) == b"big"
        )

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a member; at its end the checksum has been compared."""
        with damage_named(), self._zip.open(self._members[name]) as member:
            while chunk := member.read(CHUNK_BYTES):
                yield chunk

    def _refuse_tricks(self, size: int) -> None:
        members = self._zip.infolist()
        if len(members) != len(self._members):
            raise Broken("holds two members of one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise Broken("is a compressed zip file, which torch.save never writes")
        if self._zip.comment:
            raise Broken("carries a zip comment, in which a second zip file could hide")
        if not members or min(member.header_offset for member in members) != 0:
            raise Broken("does not start where its zip file starts")
        if sum(member.file_size for member in members) > size:
            raise Broken("declares more bytes than it has")

    def _find_prefix(self) -> str:
        pickles = [name for name in self._members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Broken("is a zip file but not a checkpoint: it holds no data.pkl")
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}constants.pkl" in self._members:
            raise Broken("is a TorchScript program, not a checkpoint")
        return prefix


@contextmanager
def damage_named() -> Iterator[None]:
    """What Python's zipfile raises on hostile bytes is many things; here it becomes one."""
    try:
        yield
    except _DAMAGED as error:
        raise Broken(f"is damaged ({shown(str(error)) or type(error).__name__})") from error


def _refuse_other_formats(file: IO[bytes], size: int) -> None:
    head = file.read(2)
    file.seek(0)
    if size == 0:
        raise Broken("is empty")
    if head == b"PK":
        with damage_named():
            whole = zipfile.is_zipfile(file)
        if not whole:
            raise Broken("is cut short: whatever wrote it was stopped while it was saving")
    elif head[:1] == b"\x80":
        raise Broken(_legacy_or_pickle(file))
    else:
        raise Broken("is not a checkpoint: it is no zip file")


def _legacy_or_pickle(file: IO[bytes]) -> str:
    start = file.read(64)
    file.seek(0)
    return _LEGACY if _LEGACY_MAGIC in start else "is a plain pickle, not a checkpoint of torch.save"


_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
