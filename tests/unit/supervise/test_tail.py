"""Logs read while they grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainrelay.supervise.tail import MAX_LINE_BYTES, Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def tail(log: Path) -> Iterator[Tail]:
    reader = Tail(log)
    yield reader
    reader.close()


def append(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


def test_line_is_given_once_it_is_complete(log: Path, tail: Tail) -> None:
    """Half a line is kept back until its end is written."""
    append(log, b"one\ntw")
    assert list(tail.lines()) == ["one"]
    assert list(tail.lines()) == []
    append(log, b"o\n")
    assert list(tail.lines()) == ["two"]


def test_unfinished_last_line_is_given_at_the_end(log: Path, tail: Tail) -> None:
    """What a killed writer left is not lost, and given once."""
    append(log, b"one\ntwo")
    assert list(tail.remaining()) == ["one", "two"]
    assert list(tail.remaining()) == []


def test_last_state_of_a_progress_bar_counts(log: Path, tail: Tail) -> None:
    """Carriage returns overwrite; Windows line ends are line ends."""
    append(log, b" 10%\r 20%\rEpoch [1]\nplain\r\n 30%\r 40%\r\n")
    assert list(tail.lines()) == ["Epoch [1]", "plain", " 40%"]


def test_endless_progress_bar_is_not_kept(log: Path, tail: Tail) -> None:
    """A bar that never ends its line takes no memory."""
    for _ in range(50):
        append(log, b"\r[>>>   ] 10%" * 10_000)
        assert list(tail.lines()) == []
    assert len(tail._rest) < 20
    append(log, b"\rdone\n")
    assert list(tail.lines()) == ["done"]


def test_huge_line_is_cut_and_the_next_is_whole(log: Path, tail: Tail) -> None:
    """64 kB of a line are kept, however it arrives."""
    for _ in range(20):
        append(log, b"x" * 300_000)
        assert list(tail.lines()) == []
    append(log, b"y\nnext\n")
    huge, following = tail.lines()
    assert (huge, following) == ("x" * MAX_LINE_BYTES, "next")


def test_undecodable_bytes_are_replaced(log: Path, tail: Tail) -> None:
    """Binary output is no error."""
    append(log, b"a\xff\xfeb\x00\n")
    assert list(tail.lines()) == ["a\ufffd\ufffdb\x00"]


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_lines_do_not_depend_on_how_they_arrive(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    """Read piece by piece or at once, the lines are the same."""
    whole, pieces = (tmp_path_factory.mktemp("tail") / "log" for _ in range(2))
    whole.write_bytes(b"".join(parts))
    pieces.touch()
    at_once, growing, seen = Tail(whole), Tail(pieces), []
    for part in parts:
        append(pieces, part)
        seen += growing.lines()
    seen += growing.remaining()
    assert seen == list(at_once.remaining())
    at_once.close()
    growing.close()
