"""The processes of one attempt: started with a tag in their environment, ended wherever they are.

torch gives each rank its own session and data workers may be reparented, so neither the parent nor the
process group says who belongs to an attempt. Every process inherits its environment, so the tag does;
for those whose environment was cleared there is the ProcessList.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from trainrelay.errors import UserError
from trainrelay.system.alive import TAG_VARIABLE, Kin, Process, find, lives
from trainrelay.trainers import Launch, LaunchRequest, prefixed

_CHECK_S = 0.05  # an end is noticed at once, and a look reads one small file of /proc per process
_RESCAN_S = 1.0  # a scan reads the environment of every process, so it is not done at each check
_SRUN_S = 15.0  # before we give up, an srun that still waits for its nodes is killed, too
_UNKILLABLE_S = 30.0  # after SIGKILL; only a process stuck inside the kernel takes longer


class NotStarted(UserError):
    """A launcher could not be started at all."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What `end_all` did: the processes it ended, and those that outlived even SIGKILL.

    `steps_left` are Slurm steps that may still have processes on other nodes.
    """

    ended: tuple[Process, ...]
    left: tuple[Process, ...]
    steps_left: tuple[str, ...] = ()

    @property
    def stuck(self) -> str:
        """The processes left, by name; empty if there are none."""
        return ", ".join(map(str, self.left))


def start(
    argv: Sequence[str], added_env: Mapping[str, str], cwd: str, log: Path, tag: str
) -> subprocess.Popen[bytes]:
    """Starts a launcher in its own session, both outputs into the file `log`; OSError if it cannot.

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


def start_prefixed(launch: Launch, request: LaunchRequest, log: Path, tag: str) -> subprocess.Popen[bytes]:
    """As `start`, behind the request's prefix: also where that drops the environment, the tag is there."""
    whole = prefixed(replace(launch, env={**launch.env, TAG_VARIABLE: tag}), request)
    return start(whole.argv, whole.env, whole.cwd, log, tag)


@contextmanager
def start_explained(what: str, program: str) -> Iterator[None]:
    """Turns what the operating system says about a start into one sentence (NotStarted)."""
    try:
        yield
    except OSError as error:
        raise NotStarted(
            f"cannot {what}: {error.filename or program}: {error.strerror or error}; check the trainer's"
            " `interpreter`, `prefix`, `root` and `script.command` in config.yaml, or that path's permissions"
        ) from error


@contextmanager
def _ignored_by_children(signum: signal.Signals) -> Iterator[None]:
    # An ignored signal stays ignored through exec. SIGUSR2 announces the end of a Slurm allocation, and a
    # launcher that died of it would orphan its ranks.
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signum, before)


def end_all(
    kin: Kin, grace_s: float, hurry: Callable[[], bool] = lambda: False, *, told: bool = False
) -> Ending:
    """Ends every process of an attempt, each by its own pid: SIGTERM, after `grace_s` SIGKILL.

    Repeats until none is found, because processes may be born meanwhile. `hurry` is asked all along; once it
    says yes, the grace is over. Stopped processes are continued so that they get the SIGTERM. `told`: it has
    been sent already.
    """
    grace_until = time.monotonic() + grace_s
    give_up_at = grace_until + _UNKILLABLE_S
    seen: dict[tuple[int, int], Process] = {}  # those that SIGTERM was sent to
    while members := _still_there(kin._replace(known=(*kin.known, *seen))):
        kill = hurry() or time.monotonic() >= grace_until
        if kill:
            give_up_at = min(give_up_at, time.monotonic() + _UNKILLABLE_S)
        if time.monotonic() >= give_up_at:
            return _ending(seen, members)
        last = time.monotonic() >= give_up_at - _SRUN_S
        for member in members:
            _signal(member, kill=kill, told=told or member.key in seen, last=last)
            seen[member.key] = member
        _wait_for_change(members, min(grace_until, time.monotonic() + _RESCAN_S), kill=kill, hurry=hurry)
    return _ending(seen, [])


def _ending(seen: Mapping[tuple[int, int], Process], left: Sequence[Process]) -> Ending:
    stuck = {member.key for member in left}
    return Ending(tuple(one for key, one in seen.items() if key not in stuck), tuple(left))


def _still_there(kin: Kin) -> list[Process]:
    # A scan can miss a child that was born behind it, of a parent that died before it; and a dying process
    # loses its environment a moment before it is gone.
    if members := find(kin):
        return members
    time.sleep(_CHECK_S)
    return find(kin)


def _signal(member: Process, *, kill: bool, told: bool, last: bool) -> None:
    if not lives(*member.key):
        return
    if member.name == "srun" and not last:
        # A SIGTERM makes it kill what it started, on every node and at once: that is not for the grace.
        # Once it is killed itself, nobody does.
        told, kill = not kill, False
    if kill:
        _send(member.pid, signal.SIGKILL)
    elif not told:
        _send(member.pid, signal.SIGTERM, signal.SIGCONT)


def _send(pid: int, *signals: signal.Signals) -> None:
    for one in signals:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, one)


def _wait_for_change(
    members: Sequence[Process], until: float, *, kill: bool, hurry: Callable[[], bool]
) -> None:
    until = time.monotonic() + _RESCAN_S if kill else until
    while time.monotonic() < until and any(lives(*member.key) for member in members):
        if hurry() and not kill:
            return
        time.sleep(_CHECK_S)
