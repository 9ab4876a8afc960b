"""The processes of an attempt, written down while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attempts import an_attempt
from trainrelay.errors import Fenced
from trainrelay.records import Processes
from trainrelay.supervise import process_list, recover
from trainrelay.supervise.process_list import ProcessList
from trainrelay.system.alive import here, stat, written_to
from trainrelay.system.files import write_json
from trainrelay.training.attempts import PROCESSES, held_open, kin_of, living

SLEEPS = [sys.executable, "-c", "import sys; sys.stdin.read()"]
RECORD = an_attempt(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "attempts/001"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that carries no tag."""
    child = subprocess.Popen(SLEEPS, stdin=subprocess.PIPE)
    yield child.pid
    child.communicate()


def fenced() -> None:
    raise Fenced("taken over")


@pytest.mark.process
def test_it_is_bounded_and_keeps_the_oldest(
    tmp_path: Path, folder: Path, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From them those that are younger descend."""
    monkeypatch.setattr(process_list, "_MOST", 1)
    mine = ProcessList(tmp_path, RECORD)
    mine._take([stat(sleeper), stat(os.getpid())])
    assert kin_of(folder) == mine.kin == (RECORD.tag, (stat(os.getpid()).key,))


@pytest.mark.process
def test_who_lost_the_lease_writes_none_and_a_failed_write_is_tried_again(
    tmp_path: Path, folder: Path, sleeper: int
) -> None:
    ProcessList(tmp_path, RECORD, fenced).began(sleeper)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    mine = ProcessList(tmp_path, RECORD)
    mine.began(sleeper)
    folder.mkdir()
    mine.look(now=True)
    assert [one.pid for one in living(tmp_path)] == [sleeper]


def test_a_roll_that_a_power_cut_tore_tells_of_nobody(tmp_path: Path, folder: Path) -> None:
    for torn in (b"", b"{", b'{"tag": "1", "place": null, "known": []}'):
        (folder / PROCESSES).write_bytes(torn)
        assert kin_of(folder) is None
        assert living(tmp_path) == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("changed", "tells"),
    [({"host": "renamed"}, True), ({"pid_namespace": "1"}, False), ({"boot": "b"}, False)],
)
def test_pids_count_in_one_pid_namespace_of_one_boot(
    tmp_path: Path, folder: Path, sleeper: int, changed: dict[str, str], tells: bool
) -> None:
    place = here().model_copy(update=changed)
    write_json(folder / PROCESSES, Processes(tag="none", place=place, known=(stat(sleeper).key,)))
    assert [one.pid for one in living(tmp_path)] == ([sleeper] if tells else [])


@pytest.mark.process
def test_a_process_with_a_pid_given_again_is_not_known(tmp_path: Path, folder: Path, sleeper: int) -> None:
    pid, ticks = stat(sleeper).key
    write_json(folder / PROCESSES, Processes(tag="none", place=here(), known=((pid, ticks - 1),)))
    assert living(tmp_path) == []


def test_a_file_that_is_only_read_is_not_written_to(tmp_path: Path) -> None:
    """Whether one is written to, only a local file system tells, one in memory too."""
    path, memory = tmp_path / "log", Path("/dev/shm") / f"trainrelay-test-{os.getpid()}"
    with path.open("wb"):
        assert written_to(path) or os.major(tmp_path.stat().st_dev) == 0
    try:
        with memory.open("wb"):
            assert written_to(memory)
        assert not written_to(memory)
    finally:
        memory.unlink()
    with path.open("rb"):
        assert not written_to(path)
    assert not written_to(tmp_path / "no file")


def test_a_log_that_is_written_is_found_also_where_no_record_tells_of_its_attempt(folder: Path) -> None:
    stage, log = folder.parents[1], folder / "trainer.log"
    for name in (PROCESSES, "attempt.json"):
        (folder / name).write_bytes(b"")
    with log.open("wb"):
        assert held_open(stage) == (log if written_to(log) else None)
    assert held_open(stage) is None


@pytest.mark.process
def test_what_is_being_killed_and_only_holds_its_log_is_waited_for(folder: Path) -> None:
    """Its memory is taken first, and with it all that tells whose it was."""
    log, said = folder / "trainer.log", list[str]()
    for name in (PROCESSES, "attempt.json"):
        (folder / name).write_bytes(b"")
    with log.open("wb") as file, subprocess.Popen(["sleep", "1"], stdout=file) as ending:
        file.close()
        local = written_to(log)
        recover.wait_for_killed(folder.parents[1], said.append, lambda: False)
        assert ending.poll() == 0 or not local
    assert said == (
        [f"waiting for a process that writes {log} of an earlier attempt to end"] if local else []
    )
