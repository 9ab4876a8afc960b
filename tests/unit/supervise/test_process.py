"""Processes of an attempt: found wherever they are, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from support.supervising import TOY, carrying, eventually
from trainrelay.supervise.process import end_all, start
from trainrelay.system.alive import TAG_VARIABLE, Kin, find, lives, stat

pytestmark = pytest.mark.process


def toy(folder: Path, habit: str, tag: str) -> subprocess.Popen[bytes]:
    argv = [
        sys.executable,
        "-u",
        str(TOY),
        "--work-dir",
        str(folder),
        "--templates",
        "none",
        "--habit",
        habit,
    ]
    return start(argv, {"ADDED": "by launch"}, str(folder), folder / "log", tag)


@pytest.fixture
def tag() -> str:
    return str(uuid.uuid4())


def all_up(folder: Path) -> bool:
    text = (folder / "log").read_text()
    return text.count("child up") >= 5 and "Epoch [1]" in text


def test_every_process_is_found_and_ended(tmp_path: Path, tag: str) -> None:
    """Own sessions, orphans, deaf, stopped and environment-less ones: none is left."""
    launcher = toy(tmp_path, "many", tag)
    eventually(lambda: all_up(tmp_path))
    members = find(Kin(tag))
    assert len(members) == 7
    assert launcher.pid in {member.pid for member in members}
    ending = end_all(Kin(tag), grace_s=0.5)
    assert {member.pid for member in members} <= {member.pid for member in ending.ended}
    assert ending.left == ()
    assert not any(lives(*member.key) for member in members)
    assert launcher.wait() == -signal.SIGTERM


def test_grace_is_granted_and_no_more_than_needed(tmp_path: Path, tag: str) -> None:
    """Who ends on SIGTERM is not killed, and a long grace is not waited out."""
    launcher = toy(tmp_path, "waits", tag)
    eventually(lambda: "Epoch" in (tmp_path / "log").read_text())
    end_all(Kin(tag), grace_s=10_000)
    assert launcher.wait() == -signal.SIGTERM


def test_hurry_ends_the_grace(tmp_path: Path, tag: str) -> None:
    """Once in a hurry, what ignores SIGTERM is killed without waiting for the grace."""
    launcher = toy(tmp_path, "deaf", tag)
    eventually(lambda: "Epoch" in (tmp_path / "log").read_text())
    asked: list[bool] = []

    def hurry() -> bool:
        asked.append(True)
        return len(asked) > 5

    end_all(Kin(tag), grace_s=10_000, hurry=hurry)
    assert launcher.wait() == -signal.SIGKILL


def test_ending_nothing_is_no_error(tag: str) -> None:
    """An attempt without processes is ended already."""
    assert end_all(Kin(tag), grace_s=10_000).ended == ()


def test_other_attempts_are_left_alone(tmp_path: Path, tag: str) -> None:
    """Only the tag's own processes are ended, not those of another attempt nor ourselves."""
    other = str(uuid.uuid4())
    launcher = toy(tmp_path, "waits", other)
    eventually(lambda: carrying(other))
    end_all(Kin(tag), grace_s=0)
    assert launcher.poll() is None
    end_all(Kin(other), grace_s=0)
    assert launcher.wait() < 0


def test_own_process_is_never_found(tmp_path: Path, tag: str) -> None:
    """A supervisor started inside the attempt it ends does not end itself."""
    code = (
        "import os; from trainrelay.system.alive import Kin, find;"
        "from trainrelay.supervise.process import end_all;"
        f"assert not find(Kin({tag!r})); end_all(Kin({tag!r}), 0); print('alive')"
    )
    env = {**os.environ, TAG_VARIABLE: tag}
    assert subprocess.check_output([sys.executable, "-c", code], env=env, text=True) == "alive\n"


def test_launcher_ignores_sigusr2(tmp_path: Path, tag: str) -> None:
    """The signal that announces an allocation's end does not kill the launcher; our own handler stays."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda signum, _: heard.append(signum))
    try:
        launcher = toy(tmp_path, "usr2", tag)
        os.kill(os.getpid(), signal.SIGUSR2)
        eventually(lambda: heard)
        launcher.wait()
        assert "Epoch [1]" in (tmp_path / "log").read_text()
    finally:
        signal.signal(signal.SIGUSR2, before)
        end_all(Kin(tag), 0)


def test_launcher_reads_nothing_and_writes_into_the_log(tmp_path: Path, tag: str) -> None:
    """stdin is empty, both outputs are the log file, the environment is ours and the launch's."""
    code = "import os, sys; print(repr(sys.stdin.read()), os.environ['ADDED'], os.getsid(0) == os.getpid());"
    code += "print('to stderr', file=sys.stderr)"
    launcher = start([sys.executable, "-c", code], {"ADDED": "ü"}, str(tmp_path), tmp_path / "log", tag)
    assert launcher.wait() == 0
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["'' ü True", "to stderr"]


def test_pid_used_again_is_another_process() -> None:
    """A pid alone proves nothing: the start must agree; a zombie does not live."""
    ticks = stat(os.getpid()).ticks
    assert lives(os.getpid(), ticks)
    assert not lives(os.getpid(), ticks - 1)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    eventually(lambda: stat(dead.pid).gone)
    ticks = stat(dead.pid).ticks
    assert not lives(dead.pid, ticks)
    dead.wait()
    assert not lives(dead.pid, ticks)
