"""Zip files that readers understand differently: torch would load another checkpoint than was checked."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainrelay.checkpoint import glance, inspect, newest_valid
from trainrelay.errors import CheckpointError

FILES = Path(__file__).with_name("files")
Trick = Callable[[bytes, bytes], bytes]


class Payload:
    """Makes a folder when torch loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "MARK"


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        inspect(path)
    return str(caught.value)


# ---------------------------------------------------------------------- what torch writes


@pytest.mark.parametrize("version", ["1.8.1", "1.12.1", "2.13.0"])
def test_a_file_of_each_torch_is_read(version: str) -> None:
    facts = inspect(FILES / f"torch-{version}.pth")
    assert (facts.epoch, facts.iteration, facts.tensors, facts.parameters, facts.finite) == (
        2,
        20,
        2,
        3,
        True,
    )


def test_members_that_we_do_not_know_pass(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("epoch_2/.data/of_a_later_torch", b"anything")
    assert inspect(saved).epoch == 2


class Sparse(io.RawIOBase):
    """A file in which zeros take no room."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if view.nbytes > 2**20 and not any(view[: 2**20]):
            self._file.seek(view.nbytes, io.SEEK_CUR)
        else:
            self._file.write(view)
        return view.nbytes

    def close(self) -> None:
        self._file.close()


@pytest.mark.long
def test_a_checkpoint_of_more_than_4_gb_is_read(
    tmp_path: Path, mmcv_style: Callable[..., dict[str, Any]]
) -> None:
    """Its sizes and offsets do not fit in the zip file's own fields."""
    big = torch.zeros(2**32 + 10, dtype=torch.uint8)
    with Sparse(tmp_path / "x.pth") as file:
        torch.save(mmcv_style(state_dict={"big": big, "after": torch.ones(3)}), file)
    facts = inspect(tmp_path / "x.pth")
    assert (facts.epoch, facts.parameters) == (2, 2**32 + 13)


# ---------------------------------------------------------------------- what hides a second checkpoint

ENTRY, LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")


def appended(whole: bytes, name: str, data: bytes) -> bytes:
    """One more member, written as Python does."""
    buffer = io.BytesIO(whole)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def pickle_in_capitals(whole: bytes, evil: bytes) -> bytes:
    """Which of the two torch finds depends on how many members there are."""
    made = appended(whole, "epoch_2/DATA.PKL", evil)
    for number in range(9):
        if torch._C.PyTorchFileReader(io.BytesIO(made)).get_record("data.pkl") == evil:
            break
        made = appended(made, f"epoch_2/zz{number}", b"")
    return made


def folder_in_capitals(whole: bytes, evil: bytes) -> bytes:
    return appended(whole, "EPOCH_2/data.pkl", evil)


def second_directory(whole: bytes, evil: bytes) -> bytes:
    """The locator points at a directory with the evil pickle; before the locator is the harmless one."""
    other = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as good, zipfile.ZipFile(other, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, evil if name.endswith("data.pkl") else good.read(name))
    data = bytearray(other.getvalue())
    count, length, start = struct.unpack("<H2I", data[-12:-2])
    members, directory = data[:start], bytearray(data[start : start + length])
    end = len(whole) - 22
    base = struct.unpack("<Q", whole[end - 28 : end - 20])[0]  # where the harmless directory was
    at = 0
    while at < length:
        entry = list(ENTRY.unpack_from(directory, at))
        entry[16] += base
        ENTRY.pack_into(directory, at, *entry)
        at += ENTRY.size + sum(entry[10:13])
    hidden = base + len(members)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, hidden)
    made = whole[:base] + members + directory + end64
    shift = len(made) - base
    rest = bytearray(whole[base:])
    rest[-22 - 20 - 8 : -22 - 20] = struct.pack("<Q", base + shift)
    rest[-22 - 12 : -22 - 4] = struct.pack("<Q", hidden + length)
    return bytes(made + rest)


RUNS: dict[str, Trick] = {
    "a pickle in capitals": pickle_in_capitals,
    "a directory that only the locator knows": second_directory,
}


@pytest.mark.parametrize("trick", RUNS)
def test_a_second_pickle_that_torch_would_run_is_refused(
    tmp_path: Path, saved: Path, mark: Path, trick: str
) -> None:
    buffer = io.BytesIO()
    pickle.Pickler(buffer, protocol=2).dump(Payload(mark))
    hostile = tmp_path / "epoch_3.pth"
    hostile.write_bytes(RUNS[trick](saved.read_bytes(), buffer.getvalue()))
    torch.load(hostile, weights_only=False)
    assert mark.exists(), "torch does not run it, so this test would prove nothing"
    mark.rmdir()
    assert "torch could load other data" in refusal(hostile)
    assert glance(hostile).problem is not None
    chosen, skipped = newest_valid([(3, hostile), (2, saved)])
    assert chosen is not None
    assert chosen.file.path == str(saved)
    assert str(hostile) in skipped[0]
    assert not mark.exists()


def test_weights_that_are_nan_for_torch_alone_are_refused(saved: Path) -> None:
    """Which of two members torch finds depends on how many there are: for some keys the second one."""
    whole, hidden = saved.read_bytes(), 0
    for key in range(4):
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            size = archive.getinfo(f"epoch_2/data/{key}").file_size
        saved.write_bytes(appended(whole, f"epoch_2/DATA/{key}", b"\xff" * size))
        weights = torch.load(saved, weights_only=False)["state_dict"].values()
        hidden += any(weight.isnan().any() for weight in weights)
        assert "names differ in case" in refusal(saved)
    assert hidden, "torch never finds them, so this test would prove nothing"


def changed(field: int, value: Any, kind: struct.Struct = ENTRY) -> Callable[[bytes], bytes]:
    """The first member's entry in the directory, or its own header, with one field changed."""

    def change(whole: bytes) -> bytes:
        at = whole.index(b"PK\1\2") if kind is ENTRY else 0
        fields = list(kind.unpack_from(whole, at))
        fields[field] = value
        return whole[:at] + kind.pack(*fields) + whole[at + kind.size :]

    return change


def end_changed(before_end: int, new: bytes) -> Callable[[bytes], bytes]:
    def change(whole: bytes) -> bytes:
        at = len(whole) - before_end
        return whole[:at] + new + whole[at + len(new) :]

    return change


def gap(whole: bytes) -> bytes:
    """Bytes between the last member and the directory, of which all offsets know."""
    start = struct.unpack("<I", whole[-6:-2])[0]
    made = bytearray(whole[:start] + b"PK\3\4hidden" + whole[start:])
    made[-6:-2] = struct.pack("<I", start + 10)
    made[-50:-42] = struct.pack("<Q", start + 10)
    made[-34:-26] = struct.pack("<Q", struct.unpack("<Q", made[-34:-26])[0] + 10)
    return bytes(made)


def renamed(new: bytes) -> Callable[[bytes], bytes]:
    """The first member under a name of the same length, in both places."""
    return lambda whole: whole.replace(b"epoch_2/data.pkl"[: len(new)], new)


ODD: dict[str, Callable[[bytes], bytes]] = {
    "an encrypted member": changed(3, 0x809),
    "a patch": changed(3, 0x828),
    "a masked header": changed(3, 0x2808),
    "a folder with bytes, which torch does not read": changed(15, 0x10),
    "another disk": changed(13, 1),
    "a packed size of its own": changed(8, 7),
    "a size that stands elsewhere": changed(9, 0xFFFFFFFF),
    "a first member that does not start the file": changed(16, 4),
    "a comment of a member": changed(12, 4),
    "a larger extra field": changed(11, 4),
    "another version of the directory's mark": changed(0, b"PK\1\3"),
    "another mark before a member": changed(0, b"PK\3\5", LOCAL),
    "other flags before a member": changed(2, 0, LOCAL),
    "a compressed member in its own header": changed(3, 8, LOCAL),
    "another checksum before a member": changed(6, 5, LOCAL),
    "another size before a member": changed(8, 5, LOCAL),
    "a shorter name before a member": changed(9, 3, LOCAL),
    "more padding before a member": changed(10, 60, LOCAL),
    "another member in its own header": lambda whole: whole.replace(
        b"epoch_2/data.pkl", b"epoch_2/data.pkk", 1
    ),
    "another checksum behind a member": lambda whole: whole.replace(b"PK\7\10", b"PK\7\10\0", 1)[:-1],
    "a gap before the directory": gap,
    "bytes after the end": lambda whole: whole + b"PK",
    "a comment that no size tells": lambda whole: whole + whole[-22:],
    "an end on another disk": end_changed(18, b"\1\0"),
    "an end with fewer members": end_changed(12, b"\1\0"),
    "a comment of the end": end_changed(2, b"\1\0"),
    "a locator to elsewhere": end_changed(34, struct.pack("<Q", 0)),
    "a locator of two disks": end_changed(26, b"\2"),
    "a longer 64 bit end": end_changed(94, b"\x2d"),
    "fewer members here": end_changed(74, b"\1"),
    "fewer members in all": end_changed(66, b"\1"),
    "a shorter directory": end_changed(58, b"\1"),
    "an earlier directory": end_changed(50, b"\1"),
    "an end of 2**64 bytes": end_changed(58, b"\xff" * 16),
    "a backslash in a name": renamed(b"epoch_2\\data.pkl"),
    "a NUL in a name": renamed(b"epoch_2/data.pk\0"),
    "members in two folders": lambda whole: appended(whole, "other/data.pkl", b"N."),
    "a folder in capitals": lambda whole: folder_in_capitals(whole, b"N."),
    "a member in no folder": lambda whole: appended(whole, "data.pkl", b"N."),
    "a folder as a member": lambda whole: appended(whole, "epoch_2/VERSION", b"3"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_archive_that_readers_could_understand_differently_is_refused(saved: Path, odd: str) -> None:
    whole = saved.read_bytes()
    hostile = ODD[odd](whole)
    assert hostile != whole
    saved.write_bytes(hostile)
    assert f"mv {saved}" in refusal(saved)


def test_more_members_than_any_checkpoint_has_are_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect(saved)
    monkeypatch.setattr("trainrelay.checkpoint.archive._MOST_MEMBERS", 3)
    assert "more members" in refusal(saved)
