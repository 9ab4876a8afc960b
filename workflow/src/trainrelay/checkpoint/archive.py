"""The zip file that torch.save writes (torch 1.6 and later), opened without trusting it.

Readers of zip files disagree where a file is odd: torch's ignores the case of names and follows the locator
to its directory, others do neither. So the records are read here, and accepted only where every reader finds
the same members: once all members were read, each byte of the file was seen to belong to exactly one record.
"""

from __future__ import annotations

import struct
import zlib
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import IO, NamedTuple

from trainrelay.checkpoint.problems import CUT, EMPTY, BrokenFile, OtherFormat, shown
from trainrelay.checkpoint.values import Long
from trainrelay.system.files import CHUNK_BYTES

MOST_PICKLE_BYTES = 256 * 1024 * 1024  # about 90 for each tensor; the rest is for histories of every loss
_MOST_MEMBERS = 40_000  # one for each tensor: 13,000 weights with Adam's two moments
_MOST_DIRECTORY_BYTES = 4 * 1024 * 1024  # 100 for each member; torch writes about 65

# signature, version, flags, method, time, date, checksum, packed size, size, bytes of: name, extra
_LOCAL = struct.Struct("<4s5H3I2H")
# the same after the version of its writer; bytes of: comment; disk, two kinds of attributes, offset
_ENTRY = struct.Struct("<4s6H3I5H2I")
# signature, two disks, entries on this one, entries, bytes, offset, bytes of the comment
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")  # signature, disk, offset of the next, disks
_END64 = struct.Struct("<4sQ2H2I4Q")  # signature, bytes that follow, two versions, then as in _END
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # mean a number that does not fit
_DESCRIBED, _UTF8 = 0x8, 0x800  # the flags that torch sets; any other changes how a member is read
_FOLDER = 0x10  # in the attributes: torch then reads nothing


class Member(NamedTuple):
    """What the directory says: the first byte of the member's records and the one after them."""

    name: bytes
    first: int
    stop: int
    size: int
    crc: int
    flags: int


class Archive:
    """The members of one checkpoint by name; `file` is open and its size known."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        _refuse_other_formats(file, size)
        self._file = file
        self._members = {one.name.decode(errors="surrogateescape"): one for one in _members(file, size)}
        self._prefix = self._find_prefix()

    def pickle(self) -> tuple[IO[bytes], int]:
        """The file, at the start of the pickle that says what belongs where, and its last byte."""
        name = f"{self._prefix}data.pkl"
        if self._members[name].size > MOST_PICKLE_BYTES:
            raise BrokenFile("holds a pickle that is larger than any checkpoint's")
        for _ in self.chunks(name):
            pass
        stop = self._file.tell()
        self._file.seek(stop - self._members[name].size)
        return self._file, stop

    def storage_name(self, key: str) -> str:
        """The member that holds a storage's bytes."""
        return f"{self._prefix}data/{key}"

    def size(self, name: str) -> int | None:
        """Bytes of a member, None if there is none."""
        member = self._members.get(name)
        return None if member is None else member.size

    def names(self) -> list[str]:
        """Every member in the order of the file."""
        return list(self._members)

    def big_endian(self) -> bool:
        """Whether the machine that wrote it was; torch before 2.1 does not say and is little."""
        name = f"{self._prefix}byteorder"
        return self.size(name) == 3 and b"".join(self.chunks(name)) == b"big"

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a member; at its end its own records and checksum have been compared."""
        member, crc = self._members[name], 0
        start = _start(self._file, member)
        for at in range(start, start + member.size, CHUNK_BYTES):
            chunk = _read(self._file, at, min(CHUNK_BYTES, start + member.size - at))
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if crc != member.crc:
            raise BrokenFile(f"is damaged (Bad CRC-32 for file {shown(name)!r})")

    def pickled(self, found: bytes | Long) -> Iterator[bytes]:
        """The bytes of a numpy array in the pickle, in pieces of whole elements."""
        decode, rest = getincrementaldecoder("utf-8")("replace").decode, b""
        if isinstance(found, bytes):
            return (yield found)
        for at in range(found.at, found.at + found.size, CHUNK_BYTES):
            chunk = _read(self._file, at, min(CHUNK_BYTES, found.at + found.size - at))
            rest += decode(chunk).encode("latin1", "replace") if found.text else chunk
            whole = len(rest) // 16 * 16  # complex128, of which every shorter number is a part
            yield rest[:whole]
            rest = rest[whole:]
        yield rest

    def _find_prefix(self) -> str:
        """torch looks below the folder of the first member."""
        prefix = next(iter(self._members)).partition("/")[0] + "/"
        if any(not name.startswith(prefix) for name in self._members):
            raise _odd("members in more than one folder")
        if len({member.name.lower() for member in self._members.values()}) < len(self._members):
            raise _odd("two members whose names differ in case alone")
        if f"{prefix}data.pkl" not in self._members:
            raise BrokenFile("is a zip file but not a checkpoint: it holds no data.pkl")
        if f"{prefix}constants.pkl" in self._members:
            raise BrokenFile("is a TorchScript program, not a checkpoint")
        if not any(member.crc for member in self._members.values()):
            raise OtherFormat("has no checksums (set_crc32_options(False)), so that no damage would show")
        return prefix


def _odd(what: str) -> BrokenFile:
    return BrokenFile(
        f"has {what}, which torch.save never writes: torch could load other data than was checked"
    )


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    data = file.read(size)
    if len(data) != size:
        raise BrokenFile(CUT)
    return data


def _members(file: IO[bytes], size: int) -> list[Member]:
    """The entries of the directory, in the order of the file; each reaches to the next one."""
    count, start, stop = _directory(file, size)
    directory, at, found = _read(file, start, stop - start), 0, list[Member]()
    while at < len(directory):
        entry, at = _entry(directory, at)
        found.append(entry)
    stops = [*(member.first for member in found[1:]), start]
    if len(found) != count or found[0].first or len({member.name for member in found}) < count:
        raise _odd("two members of one name or bytes outside its members")
    return [member._replace(stop=stop) for member, stop in zip(found, stops, strict=True)]


def _directory(file: IO[bytes], size: int) -> tuple[int, int, int]:
    """How many entries the directory has, where it starts and stops; what follows it must say just that."""
    tail = _read(file, max(size - _FULL16, 0), min(size, _FULL16))
    if not 0 <= tail.rfind(b"PK\5\6") <= len(tail) - _END.size or size < 98:
        raise BrokenFile(CUT)
    *_, count, length, start, _ = _END.unpack(tail[-_END.size :])
    after = b""
    if tail[-42:-38] == b"PK\6\7":
        _, _, made_by, needed, _, _, _, count, length, start = _END64.unpack(tail[-98:-42])
        after = _END64.pack(b"PK\6\6", 44, made_by, needed, 0, 0, count, count, length, start)
        after += _LOCATOR.pack(b"PK\6\7", 0, (start + length) % 2**64, 1)
    few, short, first = min(count, _FULL16), min(length, _FULL32), min(start, _FULL32)
    after += _END.pack(b"PK\5\6", 0, 0, few, few, short, first, 0)
    if not count or not tail.endswith(after) or start + length + len(after) != size:
        raise _odd("a zip comment or a second directory")
    if count > _MOST_MEMBERS or length > _MOST_DIRECTORY_BYTES:
        raise BrokenFile("holds more members than any checkpoint does")
    return count, start, start + length


def _entry(directory: bytes, at: int) -> tuple[Member, int]:
    """The entry at this byte of the directory, and where the next one starts."""
    entry = directory[at : at + _ENTRY.size]
    if len(entry) < _ENTRY.size:
        raise _odd("a directory of another length")
    magic, _, _, flags, method, _, _, crc, *numbers, name_bytes, extra_bytes = _ENTRY.unpack(entry)[:12]
    comment, disk, _, attributes, first = _ENTRY.unpack(entry)[12:]
    extra_at = at + _ENTRY.size + name_bytes
    name, extra = directory[at + _ENTRY.size : extra_at], directory[extra_at : extra_at + extra_bytes]
    if method:
        raise BrokenFile("is a compressed zip file, which torch.save never writes")
    packed, size = numbers
    size, packed, first = _widened((size, packed, first), extra)
    if (magic, packed, comment, disk, len(extra)) != (b"PK\1\2", size, 0, 0, extra_bytes):
        raise _odd("a member that is not one piece")
    if flags & ~(_DESCRIBED | _UTF8) or attributes & _FOLDER or b"\0" in name or b"\\" in name:
        raise _odd("a member that is no plain file")
    return Member(name, first, 0, size, crc, flags), extra_at + extra_bytes


def _widened(numbers: tuple[int, ...], extra: bytes) -> tuple[int, ...]:
    """Sizes and offset, those that do not fit in 32 bits from the extra field, which holds nothing else."""
    absent = numbers.count(_FULL32)
    field = struct.pack("<2H", 1, 8 * absent) if absent else b""
    if not extra.startswith(field) or len(extra) != len(field) + 8 * absent:
        raise _odd("a member with several sizes")
    wide = iter(struct.unpack_from(f"<{absent}Q", extra, len(field)))
    return tuple(next(wide) if number == _FULL32 else number for number in numbers)


def _start(file: IO[bytes], member: Member) -> int:
    """Where a member's bytes start; its own records around them leave no gap and agree with the directory."""
    magic, _, flags, method, _, _, *numbers, name_bytes, extra_bytes = _LOCAL.unpack(
        _read(file, member.first, _LOCAL.size)
    )
    start: int = member.first + _LOCAL.size + name_bytes + extra_bytes
    said = (member.crc, member.size, member.size)
    ends, unknown = [b""], said
    if flags & _DESCRIBED:
        forms = ["<4sI2Q"] if member.size > _FULL32 else ["<4sI2Q", "<4s3I"]
        ends, unknown = [struct.pack(form, b"PK\7\10", *said) for form in forms], (0, 0, 0)
    after = member.stop - start - member.size
    if (
        (magic, flags, method) != (b"PK\3\4", member.flags, 0)
        or _read(file, member.first + _LOCAL.size, name_bytes) != member.name
        or after not in map(len, ends)
        or _read(file, start + member.size, after) not in ends
        or any(number not in (*both, _FULL32) for number, *both in zip(numbers, said, unknown, strict=True))
    ):
        raise _odd("a member whose own record is not that of the directory")
    return start


# ---------------------------------------------------------------------- other formats


def _refuse_other_formats(file: IO[bytes], size: int) -> None:
    head = file.read(2)
    if size == 0:
        raise BrokenFile(EMPTY)
    if head[:1] == b"\x80":
        if LEGACY_MAGIC in file.read(64):
            raise OtherFormat("is in the format of torch before 1.6 (_use_new_zipfile_serialization=False)")
        raise BrokenFile("is a plain pickle, not a checkpoint of torch.save")
    if file.read(7)[6:] == b"{":  # behind the length of what begins with it
        raise BrokenFile("is of safetensors, weights alone, which are not read")
    if head != b"PK":
        raise BrokenFile("is not a checkpoint: it is no zip file")


LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # MAGIC_NUMBER of torch.serialization
