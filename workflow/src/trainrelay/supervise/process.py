"""The processes of one attempt: started, found again by a tag in their environment, ended.

torch gives each rank a session of its own and data workers may be reparented, so neither the parent nor the
process group says who belongs to an attempt. Every process inherits its environment, so the tag does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from trainrelay.alive import SAME_START_S, lives
from trainrelay.supervise.text import printable

TAG_VARIABLE = "TRAINRELAY_ATTEMPT"

_CHECK_S = 0.05
_RESCAN_S = 1.0  # a scan reads the environment of every process, so it is not done at each check
_SRUN_S = 15.0  # before we give up, an srun that still waits for its nodes is killed, too
_UNKILLABLE_S = 30.0  # after SIGKILL; only a process stuck inside the kernel takes longer


@dataclass(frozen=True, slots=True)
class Member:
    """A process of an attempt. `started_s` is Unix time; with the pid it names one process for good."""

    pid: int
    started_s: float
    name: str

    def __str__(self) -> str:
        return f"{printable(self.name)} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Ending:
    """What `end_all` did: the processes it ended, and those that outlived even SIGKILL.

    `steps_left` are Slurm steps that may still have processes on other nodes.
    """

    ended: tuple[Member, ...]
    left: tuple[Member, ...]
    steps_left: tuple[str, ...] = ()

    @property
    def stuck(self) -> str:
        """The processes left, by name; empty where there are none."""
        return ", ".join(map(str, self.left))


def start(
    argv: Sequence[str], added_env: Mapping[str, str], cwd: str, log: Path, tag: str
) -> subprocess.Popen[bytes]:
    """Starts a launcher in a session of its own, both outputs into the file `log`; OSError if it cannot.

    The output is a file and not a pipe, because a pipe would block or kill the trainer once the supervisor
    is gone. Call it from the main thread.
    """
    env = {**os.environ, **added_env, TAG_VARIABLE: tag}
    with log.open("ab") as output, _ignored_by_children(signal.SIGUSR2):
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def _ignored_by_children(signum: signal.Signals) -> Iterator[None]:
    # An ignored signal stays ignored through exec. SIGUSR2 announces the end of a Slurm allocation, and a
    # launcher that died of it would orphan its ranks.
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signum, before)


def find(tag: str) -> list[Member]:
    """Every living process that carries the tag, and their descendants; never this process itself."""
    processes = list(psutil.process_iter())
    tagged = {process.pid for process in processes if _carries(process, tag)}
    family = _with_descendants(tagged, processes) if tagged else tagged
    members = (_member(process) for process in processes if process.pid in family)
    return [member for member in members if member and member.pid != os.getpid()]


def _carries(process: psutil.Process, tag: str) -> bool:
    try:
        return process.environ().get(TAG_VARIABLE) == tag
    except (psutil.Error, OSError):
        return False


def _with_descendants(pids: set[int], processes: Sequence[psutil.Process]) -> set[int]:
    # A child that was given a clean environment carries no tag, but belongs to the attempt all the same.
    parents = {process.pid: _parent(process) for process in processes}
    family, grown = set(pids), True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in family} - family
        family, grown = family | children, bool(children)
    return family


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _member(process: psutil.Process) -> Member | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Member(process.pid, process.create_time(), process.name())
    except psutil.Error:
        return None


def end_all(
    tag: str, grace_s: float, hurry: Callable[[], bool] = lambda: False, *, told: bool = False
) -> Ending:
    """Ends every process of an attempt, each by its own pid: SIGTERM, after `grace_s` SIGKILL.

    Goes on until none is found, because processes may be born meanwhile. `hurry` is asked all along; once it
    says yes, the grace is over. Stopped processes are continued so that they can hear the SIGTERM. `told`: it
    has been sent already.
    """
    grace_until = time.monotonic() + grace_s
    give_up_at = grace_until + _UNKILLABLE_S
    seen: dict[Member, bool] = {}  # member -> SIGTERM was sent
    while members := _still_there(tag, seen):
        kill = hurry() or time.monotonic() >= grace_until
        if kill:
            give_up_at = min(give_up_at, time.monotonic() + _UNKILLABLE_S)
        if time.monotonic() >= give_up_at:
            return _ending(seen, members)
        last = time.monotonic() >= give_up_at - _SRUN_S
        for member in members:
            _signal(member, kill=kill, told=seen.get(member, told), last=last)
            seen[member] = True
        _wait_for_change(members, min(grace_until, time.monotonic() + _RESCAN_S), kill=kill, hurry=hurry)
    return _ending(seen, [])


def _ending(seen: Mapping[Member, bool], left: Sequence[Member]) -> Ending:
    return Ending(tuple(member for member in seen if member not in left), tuple(left))


def _still_there(tag: str, seen: Iterable[Member]) -> list[Member]:
    # A scan can miss a child that was born behind it, of a parent that died before it; and a dying process
    # loses its environment a moment before it is gone.
    for _ in range(2):
        known = find(tag)
        if members := [*known, *(member for member in seen if _outlives(member, known))]:
            return members
        time.sleep(_CHECK_S)
    return []


def _outlives(member: Member, known: Sequence[Member]) -> bool:
    return member not in known and lives(member.pid, member.started_s)


def _signal(member: Member, *, kill: bool, told: bool, last: bool) -> None:
    with suppress(psutil.Error):
        process = psutil.Process(member.pid)
        if abs(process.create_time() - member.started_s) >= SAME_START_S:
            return
        if member.name == "srun" and not last:
            # A SIGTERM makes it kill what it started, on every node and at once: that is not for the grace.
            # Once it is killed itself, nobody does.
            told, kill = not kill, False
        if kill:
            process.kill()
        elif not told:
            process.terminate()
            process.resume()


def _wait_for_change(
    members: Sequence[Member], until: float, *, kill: bool, hurry: Callable[[], bool]
) -> None:
    until = time.monotonic() + _RESCAN_S if kill else until
    while time.monotonic() < until and any(lives(member.pid, member.started_s) for member in members):
        if hurry() and not kill:
            return
        time.sleep(_CHECK_S)
