"""One rig: booting it, taking it down, and what tests do to its daemons."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from slurm.rig import boot, conf, daemons, leftovers, machine, packages
from slurm.rig.clients import Clients
from slurm.rig.conf import Layout
from slurm.rig.errors import DaemonEnded, RigError
from slurm.rig.waiting import wait_for

FOLDER_VARIABLE = "SLURM_RIG_FOLDER"
PREFIX_VARIABLE = "SLURM_RIG_PREFIX"
SYSTEM_CONF = machine.SYSTEM_CONFS[0]
# A job in one of these states holds nothing and comes back no more.
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
}
BASE = ("slurmdbd", "mariadbd", "munged")  # what Slurm stands on, in the order of their end
MAX_FOLDER_CHARS = 60  # the path of a step's socket, spool/NODE/NODE_JOB.STEP in it, may have 107


def default_folder() -> Path:
    """$SLURM_RIG_FOLDER, else one folder per user, which all of the user's clones share."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given or Path(tempfile.gettempdir(), f"trainrelay-slurm-rig-{os.getuid()}")).absolute()


class Rig(Clients):
    """The rig in a folder, up or not; its client commands are methods."""

    def __init__(self, folder: Path | None = None, *, prefix: str | None = None) -> None:
        self.folder = (folder or default_folder()).resolve()
        self.prefix = prefix or os.environ.get(PREFIX_VARIABLE) or "node"
        super().__init__(self.folder / "slurm.conf")

    # ------------------------------------------------------------------ what is

    @property
    def layout(self) -> Layout | None:
        """What the rig was booted with; None where nothing was booted."""
        try:
            written = json.loads((self.folder / machine.MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Layout(**{**written, "folder": Path(written["folder"])})

    def booted(self) -> Layout:
        """The layout; RigError where there is none."""
        if (layout := self.layout) is None:
            raise RigError(f"no rig was booted in {self.folder}; type: make slurm-rig")
        return layout

    def states(self) -> dict[str, int | None]:
        """The pid of each daemon, None for one that does not live; empty where nothing was booted."""
        layout = self.layout
        if layout is None:
            return {}
        found = {name: daemons.find(self.folder, name) for name in daemons.daemons(layout)}
        return {name: process.pid if process else None for name, process in found.items()}

    def is_up(self) -> bool:
        """Whether every daemon lives and slurmctld answers."""
        states = self.states()
        return bool(states) and all(states.values()) and boot.ready(self.booted(), "slurmctld")

    def processes(self) -> list[psutil.Process]:
        """Everything that lives of it, jobs included."""
        return leftovers.processes(self.folder, self.layout)

    def loses_processes(self) -> bool:
        """Whether a job's reparented processes may outlive it, because no cgroup could be made."""
        return self.booted().cgroup is None

    # ------------------------------------------------------------------ up and down

    def boot(self, say: Callable[[str], None] = lambda _: None) -> bool:
        """Boots it, unless it is up (False); what is left of a broken one is ended first."""
        self.check_machine()
        self.check_folder()
        # One rig of the machine at a time: until its daemons listen, another one would take the same ports.
        with self._locked(), _locked(machine.BOOT_LOCK):
            if self.is_up():
                return False
            self._end()
            self._bring_up(self._planned(), say)
        return True

    def _bring_up(self, layout: Layout, say: Callable[[str], None]) -> None:
        """Starts everything, or nothing; once more without cgroups where slurmd cannot use those here."""
        boot.write_folder(layout)
        try:
            boot.bring_up(layout, say)
        except DaemonEnded as error:
            self._end()
            if not (error.name.startswith("slurmd.") and layout.cgroup):
                raise
            say(f"once more without {layout.cgroup}, with which {error}")
            self._bring_up(replace(layout, cgroup=None), say)
        except BaseException:
            self._end()
            raise

    def down(self) -> int:
        """Ends its daemons and jobs and removes its link; the number of processes ended. Logs stay."""
        if not self.folder.is_dir():
            self.unlink()
            return 0
        with self._locked():
            return self._end()

    def check_machine(self) -> None:
        if os.geteuid() != 0:
            raise RigError("the rig needs root (device files, cgroups); type: sudo make slurm-rig")
        if reason := machine.cluster_of_its_own(os.environ.get("SLURM_CONF")):
            raise RigError(reason)
        if other := machine.rig_with_the_same_nodes(self.folder, f"{self.prefix}1"):
            raise RigError(f"another rig is up in {other}; use it with {FOLDER_VARIABLE}={other}, or end it")

    def check_folder(self) -> None:
        text = str(self.folder)
        if len(text) > MAX_FOLDER_CHARS or any(char.isspace() or char in ",%[]#=\"'\\" for char in text):
            raise RigError(
                f"the rig's folder must be a plain path of at most {MAX_FOLDER_CHARS} characters, "
                f"got {text!r}; set {FOLDER_VARIABLE} to another one"
            )
        if not self.folder.exists():
            return
        if self.folder.stat().st_uid != os.geteuid():
            raise RigError(f"{text} belongs to somebody else; set {FOLDER_VARIABLE} to another folder")
        if self.layout is None and {path.name for path in self.folder.iterdir()} - boot.KEPT:
            raise RigError(f"{text} holds other things than a rig; set {FOLDER_VARIABLE} to an empty folder")

    def _planned(self) -> Layout:
        return Layout(
            folder=self.folder,
            host=socket.gethostname().split(".")[0],
            user=pwd.getpwuid(os.geteuid()).pw_name,
            first_port=machine.free_ports(),
            cgroup=machine.cgroup_plugin(),
            prefix=self.prefix,
        )

    def _end(self) -> int:
        """First what starts jobs, then the jobs, then what Slurm stands on.

        With KILL: no boot reads what the former one left, and slurmctld waits for jobs that do not end.
        """
        layout = self.layout
        nodes = layout.nodes if layout else []
        num_ended = self._end_daemons("slurmctld", *(f"slurmd.{node}" for node in nodes))
        base = [process for name in BASE if (process := daemons.find(self.folder, name))]
        rest = [process for process in self.processes() if process not in base]
        daemons.stop(rest, kill=True)
        num_ended += len(rest) + sum(self._end_daemons(name) for name in BASE)
        if layout:
            leftovers.remove_cgroups(layout)
        self.unlink()
        return num_ended

    def _end_daemons(self, *names: str) -> int:
        living = [process for name in names if (process := daemons.find(self.folder, name))]
        daemons.stop(living, kill=True)
        return len(living)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """One process at a time boots it or takes it down."""
        return _locked(self.folder / "boot.lock")

    # ------------------------------------------------------------------ for tests

    def start(self, name: str, *options: str) -> int:
        """Starts a daemon that was stopped and waits until it answers; its pid. Names: see `states`."""
        return boot.start(self.booted(), name, *options).pid

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Ends one daemon with TERM, or KILL, and waits until it is gone.

        slurmctld writes its state only every few seconds: a KILL may make it forget the newest jobs.
        """
        if process := daemons.find(self.folder, name):
            daemons.stop([process], kill=kill)

    def live(self) -> list[str]:
        """The jobs that have not ended."""
        return [job["JobID"] for job in self.squeue(fields="JobID,State") if job["State"] not in ENDED]

    def heal(self) -> None:
        """Starts what does not live, ends every job and waits until both nodes are idle."""
        layout = self.booted()
        for name, pid in self.states().items():
            if pid is None:
                self.start(name)
        if live := self.live():
            self.scancel(*live)
        for node in layout.nodes:
            if "DRAIN" in self.scontrol("show", "node", node, "--oneliner"):
                self.scontrol("update", f"NodeName={node}", "State=RESUME")
        wait_for(lambda: boot.all_idle(self, layout), "both nodes to be idle")

    @contextlib.contextmanager
    def site_lua(self, submission: str, update: str = "") -> Iterator[None]:
        """A site that looks at each submission and update (`job`, a table) and may change it, in Lua."""
        path = self.folder / "job_submit.lua"
        before = path.read_text(encoding="utf-8")
        _replace_script(path, conf.job_submit_lua(submission, update))
        try:
            yield
        finally:
            _replace_script(path, before)

    @contextlib.contextmanager
    def limited_to(self, jobs: int) -> Iterator[None]:
        """This user may have so many jobs, waiting ones included."""
        self._set_limit(jobs)
        try:
            yield
        finally:
            self._set_limit(-1)

    def _set_limit(self, jobs: int) -> None:
        user = self.booted().user
        self.sacctmgr("modify", "user", user, "set", f"MaxSubmitJobs={jobs}")
        show = ("show", "assoc_mgr", f"users={user}", "flags=assoc")
        known = "MaxSubmitJobs=" + (f"{jobs}(" if jobs >= 0 else " ")
        # slurmdbd tells slurmctld a little later; the last association is the one of this user's account.
        wait_for(lambda: known in self.scontrol(*show).rpartition("UserName=")[2], f"{known} in slurmctld")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other test runs waiting; who comes out last takes down a rig that a test run booted."""
        with _locked(self.folder / "users.lock"):
            if self.boot():
                self._booted_by_a_test.touch()
            yield
            if self._booted_by_a_test.exists():
                self.down()

    def keep(self) -> None:
        """A person wants it: tests that booted it leave it up."""
        self._booted_by_a_test.unlink(missing_ok=True)

    @property
    def _booted_by_a_test(self) -> Path:
        return self.folder / "booted-by-a-test"

    # ------------------------------------------------------------------ /etc/slurm

    def link(self) -> None:
        """Makes /etc/slurm/slurm.conf a link to the rig's, for programs that lose SLURM_CONF."""
        self.unlink()
        if SYSTEM_CONF.exists() or SYSTEM_CONF.is_symlink():
            raise RigError(f"{SYSTEM_CONF} is there already and is left alone")
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.symlink_to(self.conf)

    def unlink(self) -> None:
        """Removes that link, if it is this rig's."""
        if SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink() == self.conf:
            SYSTEM_CONF.unlink()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace_script(path: Path, text: str) -> None:
    """slurmctld looks for a later whole second than that of the script before."""
    later_s = int(max(path.stat().st_mtime, time.time())) + 1
    path.write_text(text, encoding="utf-8")
    os.utime(path, (later_s, later_s))


def why_no_rig() -> str | None:
    """Why there can be no rig on this machine; None where there can. On a CI machine it installs one."""
    try:
        Rig().check_machine()
        packages.require(install_missing=packages.may_install())
    except RigError as error:
        return str(error)
    return None
