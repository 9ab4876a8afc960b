"""The one notion of a host and of a process, and what has become of one that was seen before.

Pids count in one pid namespace of one boot: that is a host here, whatever its name. A process is its pid and
its start in ticks since boot: unlike Unix time, that does not move when root or NTP sets the clock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from trainrelay.errors import UserError
from trainrelay.records import AttemptRecord, Place

TAG_VARIABLE = "TRAINRELAY_ATTEMPT"
not_trainers: set[int] = set()  # children of ours that belong to no training, as long as they run

# runs, stopped (suspended), gone: certain. rebooted: its machine runs another boot now, as far as names tell.
# elsewhere: nobody here can tell.
Fate = Literal["runs", "stopped", "gone", "rebooted", "elsewhere"]

_FIRST_PID_NAMESPACE = "4026531836"  # PROC_PID_INIT_INO of every Linux: not inside a container
_IN_MEMORY_OR_POOLED = ("tmpfs", "ramfs", "overlay", "btrfs", "zfs")
_GONE = ("Z", "X", "x")  # states in /proc/PID/stat, as proc(5) lists them
_STOPPED = ("T", "t")
_FORKED = 0x40  # PF_FORKNOEXEC


class Kin(NamedTuple):
    """By what the processes of an attempt are found: the tag in their environment, or pid and start."""

    tag: str
    known: tuple[tuple[int, int], ...] = ()


class Process(NamedTuple):
    """What the kernel says of a process at one moment; with its start, the pid names it for good."""

    pid: int
    ticks: int
    name: str
    state: str
    parent: int
    is_fork: bool = False  # that runs what its parent runs, as data workers do

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    @property
    def key(self) -> tuple[int, int]:
        """What does not change."""
        return self.pid, self.ticks

    @property
    def gone(self) -> bool:
        """Whether it has ended, and only its parent has not asked yet."""
        return self.state in _GONE


# ---------------------------------------------------------------------- hosts


def here() -> Place:
    """The place of this process."""
    return Place(
        host=re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname()).lstrip(".-")[:255] or "unknown",
        machine=_word(text_of("/etc/machine-id")),
        boot=_word(text_of("/proc/sys/kernel/random/boot_id")),
        pid_namespace=re.sub(r"\D", "", link_of("/proc/self/ns/pid")),
    )


def same_host(one: Place, other: Place) -> bool:
    """Whether a pid of the one means the same process at the other."""
    known = bool(one.boot and one.pid_namespace)
    return known and (one.boot, one.pid_namespace) == (other.boot, other.pid_namespace)


def _rebooted(before: Place, now: Place) -> bool:
    # Names of containers and their machine-id may be those of another container on another machine.
    known = bool(before.machine and before.boot and now.boot)
    real = before.pid_namespace == now.pid_namespace == _FIRST_PID_NAMESPACE
    same = (before.host, before.machine) == (now.host, now.machine)
    return known and real and same and before.boot != now.boot


def sees_itself() -> bool:
    """Whether /proc is that of our own pid namespace: else every pid in it means another process."""
    return link_of("/proc/self") == str(os.getpid())


# ---------------------------------------------------------------------- one process


def fate(pid: int, ticks: int, there: Place, place: Place) -> Fate:
    """What has become of a process that ran `there`, seen from `place`, which must be where we run."""
    if same_host(there, place):
        return _of_process(pid, ticks)
    return "rebooted" if _rebooted(there, place) else "elsewhere"


def supervisor_fate(attempt: AttemptRecord) -> Fate:
    """What has become of an attempt's supervisor."""
    return fate(attempt.supervisor_pid, attempt.supervisor_ticks, attempt.place, here())


def lives(pid: int, ticks: int) -> bool:
    """Whether a process of this host is still there; a zombie is not."""
    return _of_process(pid, ticks) in ("runs", "stopped")


def _of_process(pid: int, ticks: int) -> Fate:
    try:
        found = stat(pid)
    except OSError:
        return "elsewhere" if _hidden(pid) else "gone"
    if ticks != found.ticks or found.gone:
        return "gone"
    return "stopped" if found.state in _STOPPED else "runs"


def stat(pid: int) -> Process:
    """What the kernel says of a process; OSError if there is no such process, or none that we may see."""
    # The second field, the name in brackets, may itself hold brackets and spaces.
    begin, _, rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")
    name, fields = begin.partition(b"(")[2].decode(errors="replace"), rest.decode().split()
    clean = "".join(char if char.isprintable() else "\ufffd" for char in name)
    return Process(pid, int(fields[19]), clean, fields[0], int(fields[1]), bool(int(fields[6]) & _FORKED))


def _hidden(pid: int) -> bool:
    # /proc can be mounted so that the processes of other users do not show (hidepid).
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


# ---------------------------------------------------------------------- many processes


def all_processes() -> dict[int, Process]:
    """Every process that can be seen here; UserError where that cannot be looked at."""
    seen = {}
    try:
        for path in Path("/proc").iterdir():
            if path.name.isdecimal():
                with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                    seen[int(path.name)] = stat(int(path.name))
    except OSError as error:
        raise UserError(f"cannot see which processes run here: {error.strerror}") from error
    return seen


def find(*kin: Kin) -> list[Process]:
    """Every living process of attempts, and their descendants; never this process itself."""
    seen, words = all_processes(), {f"{TAG_VARIABLE}={one.tag}".encode() for one in kin}
    tagged = {pid for pid in seen if _carries(pid, words)}
    found = with_descendants(seen, tagged, (key for one in kin for key in one.known))
    return [one for one in found if one.pid != os.getpid()]


def started_with(one: Process, script: str) -> bool:
    """Whether a process was started with this word among its arguments, a fork of such a one not; True also
    where that cannot be seen."""
    try:
        words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    return not one.is_fork and script.encode() in words


def started_alike(folder: str, *words: str) -> dict[Process, list[str]]:
    """Every living process in this folder with all of these words among its arguments, and those."""
    found = {}
    for one in all_processes().values():
        with suppress(OSError):  # it has ended, or is another user's
            there = Path(f"/proc/{one.pid}")
            arguments = os.fsdecode((there / "cmdline").read_bytes()).split("\0")[:-1]
            if {*words} <= {*arguments} and (there / "cwd").samefile(folder):
                found[one] = arguments
    return found


def with_descendants(
    seen: Mapping[int, Process], pids: Iterable[int], known: Iterable[tuple[int, int]]
) -> list[Process]:
    """Of these processes, by pid or by pid and start, and all that descends from them, those that live."""
    whole, grown = {*pids, *(pid for pid, ticks in known if pid in seen and seen[pid].ticks == ticks)}, True
    while grown:
        children = {pid for pid, one in seen.items() if one.parent in whole} - whole
        whole, grown = whole | children, bool(children)
    return [seen[pid] for pid in sorted(whole) if not seen[pid].gone]


def written_to(path: Path) -> bool:
    """Whether a process of this boot has a file open to write to it, in whatever pid namespace.

    False also where nobody can say: only local file systems are asked, as NFS refuses for other reasons.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not _is_local(os.fstat(descriptor).st_dev):
            return False
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # whose default is nothing, unlike SIGIO's
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def _is_local(device: int) -> bool:
    """Whether a file system is on a disk or in memory of this machine, as far as can be told."""
    words = (line.split() for line in text_of("/proc/self/mountinfo").splitlines())
    here = f"{os.major(device)}:{os.minor(device)}"
    kinds = (fields[fields.index("-") + 1] for fields in words if fields[2] == here)
    return os.major(device) > 0 or next(kinds, "") in _IN_MEMORY_OR_POOLED


def _carries(pid: int, words: set[bytes]) -> bool:
    try:
        return bool(words.intersection(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")))
    except OSError:
        return False


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "", text)[:64]


def text_of(path: str) -> str:
    """A small file of the kernel's; empty if it is gone or not for us."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def link_of(path: str | Path) -> str:
    """Where a link of the kernel's leads; empty if it is gone or not for us."""
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
