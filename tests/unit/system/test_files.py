"""Writing aside, syncing, replacing; records read back; nothing damaged when the disk is full."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from trainrelay.errors import UserError
from trainrelay.records import FORMAT, FileDigest, Finding, Identity
from trainrelay.system import files
from trainrelay.system.files import copy_durably, read_record, sha256_of, write_bytes, write_json

DIGEST = FileDigest(path="a", sha256="b", size=1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["plain.json", "a b'ü\"*[.json", "x" * 255], ids=["plain", "nasty", "longest"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_bytes_arrive_whole_and_alone(path: Path) -> None:
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == [path.name]


def test_the_mode_is_what_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "x", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_file_then_name_then_folder_are_synced_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        seen.append("replace")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_bytes(tmp_path / "x", b"data")
    assert seen == ["file", "replace", "folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EIO, "error")]
)
def test_a_disk_that_does_not_take_it_is_one_sentence_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, words: str
) -> None:
    path = tmp_path / "x.json"
    write_bytes(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(UserError) as caught:
        write_bytes(path, b"new")
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["x.json"]


def test_a_missing_folder_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run: mkdir -p"):
        write_bytes(tmp_path / "not there" / "x", b"")


def test_the_same_value_is_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": {"d": 1, "c": 2}})
    write_json(tmp_path / "b", {"a": {"c": 2, "d": 1}, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == b'{\n  "a": {\n    "c": 2,\n    "d": 1\n  },\n  "b": 1\n}\n'


def test_records_dataclasses_paths_mappings_and_nan_all_have_a_form(tmp_path: Path) -> None:
    finding = Finding(
        "c", "info", "m", evidence=MappingProxyType({"nan": float("nan"), 1: (Path("p"), DIGEST)})
    )
    write_json(tmp_path / "x", [finding, {"inf": float("inf")}])
    read = orjson.loads((tmp_path / "x").read_bytes())
    assert read[0]["evidence"] == {"nan": None, "1": ["p", DIGEST.model_dump()]}
    assert read[1] == {"inf": None}
    assert set(read[0]) == {field.name for field in dataclasses.fields(Finding)}


def test_a_name_that_is_not_utf_8_is_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        write_json(tmp_path / "x", {"path": os.fsdecode(b"\xff")})
    assert names(tmp_path) == []


def test_what_has_no_json_form_is_a_bug_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "x", {"value": object()})


def test_a_record_comes_back_as_it_was_written(path: Path) -> None:
    identity = Identity(
        format=FORMAT, run="r", stage="s", ingredients={"z": "ü\n", "a": ""}, initial_checkpoint=DIGEST
    )
    write_json(path, identity)
    assert read_record(path, Identity) == identity


def test_a_missing_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path / "not" / "there.json", Identity) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"run": "r", "sta',
        b"[]",
        b'{"path": 1}',
        b"\xff\xfe",
        b'{"path":"a","sha256":"b","size":1,"x":2}',
    ],
)
def test_a_truncated_or_foreign_record_is_one_sentence_with_what_to_type(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_record(path, FileDigest)
    assert re.search(r"is damaged \(|does not know \(", str(caught.value))
    assert re.search(
        "run: trainrelay doctor RUN/STAGE$|; use the version of trainrelay that wrote it$", str(caught.value)
    )
    assert "\n" not in str(caught.value)


def test_a_digest_is_that_of_the_content_in_any_number_of_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 7)
    for size in (0, 6, 7, 8, 70):
        (tmp_path / "x").write_bytes(bytes(size))
        digest = sha256_of(tmp_path / "x")
        assert digest.sha256 == hashlib.sha256(bytes(size)).hexdigest()
        assert (digest.size, digest.path) == (size, str(tmp_path / "x"))


@pytest.mark.parametrize("kind", ["missing", "pipe"])
def test_what_is_no_file_has_no_digest(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(UserError, match="cannot read"):
        sha256_of(path)


def test_a_copy_is_hashed_and_shown_to_the_hook_before_the_target_changes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    seen: list[tuple[FileDigest, bytes]] = []
    digest = copy_durably(source, target, lambda copied: seen.append((copied, target.read_bytes())))
    assert target.read_bytes() == b"new"
    assert digest == sha256_of(target)
    assert seen == [(digest, b"old")]


def test_a_hook_that_refuses_leaves_everything_as_it_was(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")

    def refuse(_: FileDigest) -> None:
        raise UserError("no")

    with pytest.raises(UserError, match=r"^no$"):
        copy_durably(source, target, refuse)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["source", "target"]


def test_a_real_full_disk_is_told_and_damages_nothing(tmp_path: Path) -> None:
    """/dev/full refuses every write as a full disk does."""
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full here")
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    with pytest.MonkeyPatch.context() as patch:
        aside = tmp_path / "aside"
        patch.setattr(files, "temporary_beside", lambda _: aside)
        patch.setattr(Path, "open", _opens_full(aside, Path.open))
        with pytest.raises(UserError, match="the disk is full"):
            copy_durably(source, tmp_path / "target")
    assert names(tmp_path) == ["source"]


def _opens_full(aside: Path, real: Any) -> Any:
    def opened(self: Path, mode: str = "r", **how: Any) -> Any:
        return real(Path("/dev/full"), "wb", **how) if self == aside else real(self, mode, **how)

    return opened
