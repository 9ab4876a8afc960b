"""Where a process runs, and what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from lease_process import node

from support.supervising import eventually
from trainrelay.supervise.lease.claim import Claim, Place
from trainrelay.supervise.lease.place import fate, here, started_ticks

SLEEPS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def owner(pid: int, ticks: int, place: Place) -> Claim:
    return Claim(
        token=1,
        owner="0" * 32,
        place=place,
        pid=pid,
        started_ticks=ticks,
        beat_s=1,
        since_s=0,
        slurm_job=None,
    )


def test_process_on_this_host_runs_stops_and_is_gone() -> None:
    """A suspended process is not gone; a zombie is."""
    child = subprocess.Popen(SLEEPS, stdin=subprocess.PIPE)
    claim = owner(child.pid, started_ticks(child.pid), here())
    assert fate(claim, here()) == "runs"
    child.send_signal(signal.SIGSTOP)
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    assert fate(claim, here()) == "stopped"
    child.kill()
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert fate(claim, here()) == "gone"
    child.communicate()
    assert fate(claim, here()) == "gone"


def test_pid_given_again_is_another_process() -> None:
    """The start tells a process from an earlier one with its pid."""
    claim = owner(os.getpid(), started_ticks(os.getpid()) - 1, here())
    assert fate(claim, here()) == "gone"


def test_start_is_counted_from_boot() -> None:
    """No step of the wall clock changes it."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    started_s = psutil.Process().create_time() - psutil.boot_time()
    assert started_ticks(os.getpid()) / ticks_per_s == pytest.approx(started_s, abs=2)


@pytest.mark.parametrize(
    "changed", [{"host": "other"}, {"machine": "other"}, {"pid_namespace": "1"}, {"boot": ""}]
)
def test_pid_of_another_place_says_nothing(changed: dict[str, str]) -> None:
    """Another host, a container, a machine of the same name: a living pid here is not the owner."""
    there = here().model_copy(update=changed)
    assert fate(owner(os.getpid(), started_ticks(os.getpid()), there), here()) == "elsewhere"


def test_process_that_proc_hides_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another user's process only the kernel's refusal to signal it tells that it is there."""
    claim = owner(2**22 + 1, 1, here())
    assert fate(claim, here()) == "gone"

    def refuses(pid: int, signum: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuses)
    assert fate(claim, here()) == "elsewhere"


def test_same_machine_after_a_reboot_is_known_again() -> None:
    """Only outside of containers, whose names may be given again on other machines."""
    now = node("node7")
    before = now.model_copy(update={"boot": "earlier"})
    assert fate(owner(os.getpid(), 1, before), now) == "rebooted"
    container = {"pid_namespace": "4026532000"}
    inside = owner(os.getpid(), 1, before.model_copy(update=container))
    assert fate(inside, now.model_copy(update=container)) == "elsewhere"


def test_this_place_is_known() -> None:
    """On Linux the boot and the pid namespace can be read, as it must be to judge a pid."""
    assert here().boot
    assert here().pid_namespace.isdecimal()


def test_host_name_is_made_fit_for_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's name is put into sentences and commands."""
    for name, fit in {"-o x;y": "o_x_y", "": "unknown", "n" * 300: "n" * 255}.items():
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        assert here().host == fit
