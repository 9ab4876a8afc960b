"""Logs read while they grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainrelay.system.tail import MAX_LINE_BYTES, RowsTail, Tail


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
    """Carriage returns overwrite; Windows line ends are line ends. What is printed behind a bar is at its
    place, so that one stays."""
    append(log, b" 10%\r 20%\rEpoch [1]\nplain\r\n 30%\r 40%\r\n")
    assert list(tail.lines()) == [" 20%", "Epoch [1]", "plain", " 30%", " 40%"]


def test_endless_progress_bar_is_not_kept(log: Path, tail: Tail) -> None:
    """A bar that never ends its line takes no memory."""
    for _ in range(50):
        append(log, b"\r[>>>   ] 10%" * 10_000)
        assert list(tail.lines()) == []
    assert tail.bar == "[>>>   ] 10%"
    append(log, b"\rdone\n")
    assert list(tail.lines()) == ["[>>>   ] 10%", "done"]


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


def test_a_truncated_log_is_read_from_its_start(log: Path, tail: Tail) -> None:
    """Whether it is shorter by then, as long, or longer; the half line before it is gone."""
    append(log, b"one\ntwo\nthr")
    assert list(tail.lines()) == ["one", "two"]
    for content in (b"a\n", b"four\nfive\nx", b"six\n" * 20):
        log.write_bytes(b"")
        append(log, content)
        assert list(tail.lines()) == content.decode().split("\n")[:-1]
    log.write_bytes(b"")
    assert list(tail.lines()) == []
    assert list(tail.lines()) == []
    append(log, b"again\n")
    assert list(tail.lines()) == ["again"]


def test_a_log_that_was_rotated_away_is_read_on_beside_the_new_one(log: Path, tail: Tail) -> None:
    """The trainer writes into the file that it has open, whatever its name; others into the new."""
    append(log, b"one\n")
    assert list(tail.lines()) == ["one"]
    old = log.rename(log.with_name("log.1"))
    append(old, b"two\n")
    assert list(tail.lines()) == ["two"]
    log.touch()
    append(old, b"three\n")
    assert list(tail.lines()) == ["three"]
    append(log, b"new\n")
    append(old, b"four\nend")
    assert list(tail.remaining()) == ["four", "new", "end"]
    assert list(tail.remaining()) == []


def test_rotations_without_end_keep_two_files_open(log: Path, tail: Tail) -> None:
    """The trainer's own, and the newest."""
    for number in range(30):
        log.rename(log.with_name(f"log.{number}"))
        append(log, b"new %d\n" % number)
        assert list(tail.lines()) == [f"new {number}"]
    append(log.with_name("log.0"), b"own\n")
    assert list(tail.lines()) == ["own"]
    held = [
        link
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and "log" in str(link.readlink())
    ]
    assert len([link for link in held if link.readlink().parent == log.parent]) == 2


def test_a_log_that_is_not_there_yet_is_read_once_it_is(tmp_path: Path) -> None:
    """A supervisor that takes a trainer over may find its log moved away."""
    tail = Tail(tmp_path / "later")
    assert list(tail.lines()) == []
    append(tmp_path / "later", b"one\n")
    assert list(tail.lines()) == ["one"]
    tail.close()


def test_the_state_of_a_bar_is_there_before_its_line_ends(log: Path, tail: Tail) -> None:
    """A line that nothing has overwritten is none."""
    append(log, b"plain")
    assert (list(tail.lines()), tail.bar) == ([], "")
    append(log, b"\n\r 10%")
    assert (list(tail.lines()), tail.bar) == (["plain"], " 10%")
    append(log, b" more\r 20%")
    assert (list(tail.lines()), tail.bar) == ([], " 20%")
    append(log, b"\nplain")
    assert (list(tail.lines()), tail.bar) == ([" 10% more", " 20%"], "")


@pytest.mark.parametrize("again", [False, True])
def test_rows_that_are_added_to_a_table_come_below_its_names(tmp_path: Path, again: bool) -> None:
    """Also where the trainer writes its table again; what was there before is never read."""
    table = tmp_path / "metrics.csv"
    append(table, b"epoch,loss\n1,0.5\n" + b"2,0.4\n" * 20)
    rows = RowsTail(table, table.stat().st_size)
    assert list(rows.lines()) == ["epoch,loss"]
    if again:
        table.write_bytes(b"epoch,loss\n")
    append(table, b"3,0.3\n")
    assert list(rows.lines()) == [*(["epoch,loss"] if again else []), "3,0.3"]
    rows.close()


def test_a_table_of_objects_has_no_line_of_names(tmp_path: Path) -> None:
    table = tmp_path / "metrics.jsonl"
    append(table, b'{"epoch": 1}\n')
    rows = RowsTail(table, table.stat().st_size)
    append(table, b'{"epoch": 2}\n')
    assert list(rows.lines()) == ['{"epoch": 2}']
    rows.close()
    whole = RowsTail(table, 0)
    assert len(list(whole.lines())) == 2
    whole.close()
