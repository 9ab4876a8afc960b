"""Where a process runs, and what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from support.supervising import eventually
from trainrelay.records import Place
from trainrelay.system.alive import fate, here, stat

SLEEPS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def node(host: str) -> Place:
    """A place on another machine."""
    return Place(host=host, machine="m" + host, boot="b" + host, pid_namespace="4026531836")


def own_ticks() -> int:
    return stat(os.getpid()).ticks


@pytest.mark.process
def test_process_on_this_host_runs_stops_and_is_gone() -> None:
    """A suspended process is not gone; a zombie is."""
    child = subprocess.Popen(SLEEPS, stdin=subprocess.PIPE)
    known = child.pid, stat(child.pid).ticks, here()
    assert fate(*known, here()) == "runs"
    child.send_signal(signal.SIGSTOP)
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    assert fate(*known, here()) == "stopped"
    child.kill()
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert fate(*known, here()) == "gone"
    child.communicate()
    assert fate(*known, here()) == "gone"


def test_pid_given_again_is_another_process() -> None:
    """The start tells a process from an earlier one with its pid."""
    known = os.getpid(), own_ticks() - 1, here()
    assert fate(*known, here()) == "gone"


def test_start_is_counted_from_boot() -> None:
    """No step of the wall clock changes it."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    started_s = psutil.Process().create_time() - psutil.boot_time()
    assert own_ticks() / ticks_per_s == pytest.approx(started_s, abs=2)


@pytest.mark.parametrize(
    "changed", [{"pid_namespace": "1"}, {"boot": "b", "machine": "m"}, {"boot": ""}, {"pid_namespace": ""}]
)
def test_pid_of_another_place_says_nothing(changed: dict[str, str]) -> None:
    """Another boot, a container, a place that is not known: a living pid here is not that process."""
    there = here().model_copy(update=changed)
    assert fate(os.getpid(), own_ticks(), there, here()) == "elsewhere"


def test_process_that_proc_hides_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user's process only the kernel's refusal to signal it tells that it is there."""
    known = 2**22 + 1, 1, here()
    assert fate(*known, here()) == "gone"

    def refuses(pid: int, signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuses)
    assert fate(*known, here()) == "elsewhere"


def test_same_machine_after_a_reboot_is_known_again() -> None:
    """Only outside of containers, whose names may be given again on other machines."""
    now = node("node7")
    before = now.model_copy(update={"boot": "earlier"})
    assert fate(os.getpid(), 1, before, now) == "rebooted"
    container = {"pid_namespace": "4026532000"}
    inside = before.model_copy(update=container)
    assert fate(os.getpid(), 1, inside, now.model_copy(update=container)) == "elsewhere"


def test_this_place_is_known() -> None:
    """On Linux the boot and the pid namespace can be read, as it must be to judge a pid."""
    assert here().boot
    assert here().pid_namespace.isdecimal()


def test_host_name_is_made_fit_for_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's name is put into sentences and commands."""
    for name, fit in {"-o x;y": "o_x_y", "": "unknown", "n" * 300: "n" * 255}.items():
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        assert here().host == fit
