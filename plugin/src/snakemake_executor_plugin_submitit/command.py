"""What submitit runs on the node: Snakemake's own job command, or a rule's plain one, watched over.

Slurm's signals (a warning before the time limit, a preemption, a scancel) reach this process alone. Its
handlers only take note; a loop forwards them to what the command runs, waits until it has ended, and then has
the job requeued under its own id.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Literal

from psutil import STATUS_ZOMBIE, NoSuchProcess, Process

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.direct import Direct
from snakemake_executor_plugin_submitit.environment import EXCLUDE_VARIABLE, OwnRun, own_run
from snakemake_executor_plugin_submitit.errors import RefusedError, SubmititError, UnreachableError
from snakemake_executor_plugin_submitit.status import RUNNING, Result

CANCEL_FILE = "cancel"
"""In the job's folder: its controller requests its end, without a requeue."""

_LOOK_S = 0.1
_CANCEL_LOOK_S = 2.0
_TELL_LOOK_S = 0.5
_AGAIN_S = 5.0

# Our shell outlives a TERM that reaches every process of the job, so that the command below it is still
# found, and nothing below it dies of a USR2: neither bash nor Snakemake expects one.
_SHIELD = "trap '' USR2\ntrap : TERM\n"

_SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}

NextAction = Literal["done", "failed", "cancelled", "next", "requeue", "leave"]


@dataclass(frozen=True)
class Command:
    """A callable that is pickled for the node. `folder` holds the job's files, the cancel file among them."""

    line: str  # for a shell
    workdir: str
    folder: str
    cluster: str
    direct: Direct | None = None  # its line is the rule's own command, without a Snakemake around it

    def __call__(self) -> dict[str, str]:
        """Returns a Result as plain values; leaves by SystemExit where the job is to run again."""
        folder = Path(self.folder)
        # A run that was killed while it wrote leaves one, and submitit would refuse to write beside it.
        for path in folder.glob("*_result.pkl.save_tmp"):
            path.unlink(missing_ok=True)
        if self._own.array_id and any(folder.glob("*_result.pkl")):
            _say("an earlier leg has ended the job")
            self._end_the_rest()
            raise SystemExit(0)
        stop = StopForwarder(folder / CANCEL_FILE, hear_signals())
        if self.direct:
            os.chdir(self.workdir)
            try:
                self.direct.prepare()
            except OSError as error:
                return asdict(Result("failed", f"its command was not started: {error}"))
        code = self._run(stop)
        if self.direct:
            self.direct.finish(code)
        result = self._conclusion(code, stop)
        self._end_the_rest()
        # Where the result goes; .snakemake may have been removed since the start.
        if Path(self.workdir).is_dir():  # not moved
            folder.mkdir(parents=True, exist_ok=True)
        return asdict(result)

    @property
    def _own(self) -> OwnRun:
        return own_run(os.environ if self.cluster == "slurm" else {})

    @property
    def _exclude_file(self) -> Path:
        return Path(self.folder).absolute() / "exclude"

    def _nodes_to_exclude(self) -> str:
        """The nodes without which the command asked to run again; empty: none, or what is no list."""
        file = self._exclude_file
        nodes = file.read_text(errors="replace").strip() if file.is_file() else ""
        return nodes if re.fullmatch(r"[\w.,\[\]-]{1,4000}", nodes, re.ASCII) else ""

    def _run(self, stop: StopForwarder) -> int:
        line, env, asked = _SHIELD + self.line, dict(os.environ), self._nodes_to_exclude()
        self._exclude_file.unlink(missing_ok=True)
        # Whose wish was not granted may not ask again: it would never run.
        if self._own.nodes not in asked:
            env[EXCLUDE_VARIABLE] = str(self._exclude_file)
        with subprocess.Popen(["/bin/sh", "-c", line], cwd=self.workdir, env=env) as child:
            while (code := child.poll()) is None:
                stop.look(child.pid)
                time.sleep(_LOOK_S)
        stop.wait()
        return code

    def _end_the_rest(self) -> None:
        # Legs that start anyway find the result.
        if array_id := self._own.array_id:
            with suppress(UnreachableError):
                slurm.cancel([array_id], "--state=PENDING")

    def _conclusion(self, code: int, stop: StopForwarder) -> Result:
        own, nodes = self._standing() if code else None, self._nodes_to_exclude()
        # Who asks for other nodes has stopped by itself.
        match decide(code, bool(stop.heard or nodes), stop.cancelled, own, self._own.restarts):
            case "done":
                return Result("done", "")
            case "cancelled":
                return Result("cancelled", "its controller stopped it")
            case "failed":
                return Result("failed", f"its command ended with exit status {code}")
            case "leave":
                _say("Slurm has decided about this job; leaving without a result")
                raise SystemExit(1)
            case "next" if not nodes:
                _say("stopped; the next leg continues")
                raise SystemExit(0)
        if nodes:
            self._end_the_rest()  # it could start on these nodes
        return self._requeue(stop.heard, nodes, followed=own is not None and own.followed and not nodes)

    def _standing(self) -> slurm.QueueRow | None:
        try:
            return slurm.standing(self._own.job_id, array_id=self._own.array_id) if self._own.job_id else None
        except UnreachableError as error:
            _say(str(error))
            return None

    def _requeue(self, heard: list[signal.Signals], nodes: str, *, followed: bool) -> Result:
        signals = ", ".join(signum.name for signum in dict.fromkeys(heard))
        why = f"stopped by {signals}" if signals else f"ended to be run again without {nodes}"
        if self.cluster != "slurm":
            return Result("failed", f"its command was {why}")
        try:
            _requeue_once_reachable(self._own.name)
            # Until this process ends the job is COMPLETING and cannot start; held, it might stay so.
            with suppress(SubmititError):
                slurm.exclude(self._own.name, nodes)
        except RefusedError as error:
            if followed:
                raise SystemExit(0) from None
            # As a new job it could get these nodes again.
            said = f"{why}, and Slurm does not requeue it: {error}"
            return Result("failed" if nodes else "interrupted", said)
        _say(f"{why}; requeued")
        raise SystemExit(1)


def decide(
    code: int, stopped: bool, cancelled: bool, own: slurm.QueueRow | None, restarts: int
) -> NextAction:
    """What follows on the command's end. `own`: how Slurm sees the job now; `restarts`: of this very run."""
    if code == 0:
        return "done"
    if own is not None and (int(own.restarts) > restarts or own.state == "PENDING"):
        return "leave"  # the job runs elsewhere by now: the result file is the other run's
    if cancelled:
        return "cancelled"
    if not stopped:
        return "failed"
    if own is not None and own.state not in RUNNING:
        return "leave"  # Slurm is ending it: by scancel, or it requeues the job itself
    return "next" if own is not None and own.followed and not own.preempted_at[:1].isdigit() else "requeue"


class StopForwarder:
    """A requested stop, by a signal or the cancel file, forwarded to each command once."""

    def __init__(self, cancel_file: Path, heard: list[signal.Signals]) -> None:
        self.heard = heard  # grows
        self.cancelled = False
        self._cancel_file = cancel_file
        self._told: set[Process] = set()
        self._said = 0
        self._next_s = 0.0

    def look(self, pid: int) -> None:
        """Call it again and again: a command that starts after the signal is stopped, too."""
        if new := self.heard[self._said :]:
            _say(f"got {', '.join(signum.name for signum in new)}: stopping the command")
            self._said += len(new)
            self._next_s = 0.0
        if time.monotonic() < self._next_s:
            return
        self.cancelled = self.cancelled or self._cancel_file.exists()
        stops = self.heard or self.cancelled
        self._next_s = time.monotonic() + (_TELL_LOOK_S if stops else _CANCEL_LOOK_S)
        for process in set(commands_below(pid)) - self._told if stops else ():
            self._told.add(process)
            with suppress(NoSuchProcess):
                process.terminate()

    def wait(self) -> None:
        """Until every command that was stopped has ended: its shell may have died before it."""
        while any(map(alive, self._told)):
            time.sleep(_LOOK_S)
        if self.heard:
            self.cancelled = self.cancelled or self._cancel_file.exists()


def commands_below(pid: int) -> Iterator[Process]:
    """What runs below this shell for a rule: the topmost processes that are neither Snakemake nor a shell
    that only waits. Found by walking the children: trainers start their own sessions and process groups."""
    for process in _children(pid):
        with suppress(NoSuchProcess):
            argv = process.cmdline()
            if _is_snakemake(argv) or (_is_plain_shell(process.pid, argv) and _children(process.pid)):
                yield from commands_below(process.pid)
            else:
                yield process


def _children(pid: int) -> list[Process]:
    try:
        return [child for child in Process(pid).children() if alive(child)]
    except NoSuchProcess:
        return []


def _is_snakemake(argv: Sequence[str]) -> bool:
    named = any(PurePath(word).name == "snakemake" for word in argv[:2])
    return named or any(pair == ("-m", "snakemake") for pair in pairwise(argv))


def _is_plain_shell(pid: int, argv: Sequence[str]) -> bool:
    """Not a script with a trap for TERM, which is to get it itself."""
    if not argv or PurePath(argv[0]).name.lstrip("-") not in _SHELLS:
        return False
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        if caught := re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE):
            return not int(caught[1], 16) >> (signal.SIGTERM - 1) & 1
    return True


def alive(process: Process) -> bool:
    """A zombie has ended."""
    try:
        return process.is_running() and process.status() != STATUS_ZOMBIE
    except NoSuchProcess:
        return False


def hear_signals() -> list[signal.Signals]:
    """The TERM and USR2 signals that come from now on, in order.

    The handler waits for nothing: that could deadlock. It stays to the end of the process, because submitit's
    own would requeue a job that is done.
    """
    heard: list[signal.Signals] = []
    for signum in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(signum, lambda number, _frame: heard.append(signal.Signals(number)))
    return heard


def _requeue_once_reachable(job_id: str) -> None:
    while True:
        try:
            return slurm.requeue(job_id)
        except UnreachableError as error:
            _say(f"{error}; retrying")
            time.sleep(_AGAIN_S)


def _say(text: str) -> None:
    print(f"submitit executor: {slurm.printable(text)}", file=sys.stderr, flush=True)
