"""Runs the probe of one rung: the ranks of a stage, started as its training is, in the trainer's Python."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from trainrelay.errors import Interrupted
from trainrelay.records import ProbeResult
from trainrelay.supervise.launcher import Child
from trainrelay.supervise.nodes import end_everywhere, steps_of
from trainrelay.supervise.probe.results import RankProgress, is_over, judge, logged_progress, rank_progress
from trainrelay.supervise.process import start, start_explained
from trainrelay.system.alive import Kin, stat
from trainrelay.system.ports import free_port
from trainrelay.trainers import Launch, LaunchRequest, Rung, environment, launcher, on_each_node

_SCRIPT = Path(__file__).resolve().with_name("ranks.py")
# DistributedDataParallel's buckets of gradients are 25 MB, those of its first broadcast 250 MB. On a CPU
# there is no transport to choose, so it is enough that the ranks meet and add up: 1 MB is the first bucket,
# and 4 MB goes out in pieces, as gloo sends 1 MB at once; both together take a tenth of a second.
_SIZES_MB: Mapping[str, tuple[int, ...]] = {"cuda": (25, 256), "cpu": (1, 4)}
_STACKS_AT = 0.8  # of the deadline: late enough to be a hang, early enough to be written
_LOOK_S = 0.05  # on a CPU the ranks need a tenth of a second: waiting must not take longer
_LAST_LOOKS = 40  # 2 s after the first error: torch's launcher looks every 0.1 s (--monitor_interval)
_LONGEST_LOOK_S = 5.0  # what is longer is a gap of ours (a suspended job), and the ranks had it, too
_PORT_TAKEN = re.compile(r"EADDRINUSE|address already in use", re.IGNORECASE)
# What is read of files that the ranks write: NCCL_DEBUG=INFO prints much, a rank's notes are a few lines.
_LARGEST_LOG_BYTES = 16 * 1024 * 1024
_LARGEST_RANK_BYTES = 64 * 1024


def probe_rung(
    request: LaunchRequest,
    rung: Rung,
    log: Path,
    *,
    deadline_s: float,
    stopped: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> ProbeResult:
    """Whether the ranks of a stage can talk on a rung, and how fast; their output replaces the file `log`.

    Raises Interrupted as soon as `stopped` says so, UserError if nothing can be started. No process of the
    probe is left. Call it from the main thread.
    """
    # A separate step name, so that ending it ends nothing else.
    step = f"{request.step_name}:probe-{uuid.uuid4().hex[:8]}"
    probe = _Probe(replace(request, rung=rung, step_name=step), log, deadline_s, stopped, clock)
    result = probe.run()
    # Another process took the port between our look and the start: that says nothing about the rung.
    return probe.run() if _PORT_TAKEN.search(result.error or "") else result


@dataclass(frozen=True, slots=True)
class _Probe:
    request: LaunchRequest
    log: Path
    deadline_s: float
    stopped: Callable[[], bool]
    clock: Callable[[], float]

    def run(self) -> ProbeResult:
        tag = str(uuid.uuid4())
        with tempfile.TemporaryDirectory(prefix="trainrelay-probe-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            process = self._start(probe_launch(self.request, folder, self.deadline_s), tag)
            child, kin = Child(process), Kin(tag, (stat(process.pid).key,))
            try:
                took_s = self._wait(child, folder)
                self._hear_out(child, folder)
                status = None if child.running() else child.status()
            finally:
                end_everywhere(steps_of(self.request), kin, grace_s=0.0)
            child.status()  # so that the launcher does not stay behind as a zombie
            ranks, lines = self._ranks(folder), _lines(self.log)
        verdict = judge(ranks, lines, status, took_s)
        return ProbeResult(
            rung=self.request.rung.name,
            outcome=verdict.outcome,
            error=verdict.error,
            gb_per_s=dict(verdict.gb_per_s),
            seconds=took_s,
            log=str(self.log),
        )

    def _start(self, launch: Launch, tag: str) -> subprocess.Popen[bytes]:
        with start_explained(f"probe {self.request.rung.name}", launch.argv[0]):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.unlink(missing_ok=True)
            return start(launch.argv, launch.env, launch.cwd, self.log, tag)

    def _wait(self, child: Child, folder: Path) -> float:
        """Until the outcome is clear or the deadline is over; the seconds that it took."""
        spent_s, last_s = 0.0, self.clock()
        while spent_s < self.deadline_s and child.running() and not is_over(self._ranks(folder)):
            if self.stopped():
                raise Interrupted(f"stopped on request while {self.request.rung.name} was probed")
            time.sleep(_LOOK_S)
            now_s = self.clock()
            spent_s, last_s = spent_s + min(now_s - last_s, _LONGEST_LOOK_S), now_s
        return spent_s

    def _hear_out(self, child: Child, folder: Path) -> None:
        """After a rank's error: its launcher may be about to report that another rank crashed before."""
        for _ in range(_LAST_LOOKS if any(rank.error for rank in self._ranks(folder)) else 0):
            if not child.running() or self.stopped():
                return
            time.sleep(_LOOK_S)

    def _ranks(self, folder: Path) -> list[RankProgress]:
        numbers = range(self.request.nproc_per_node * self.request.nodes)
        if self.request.nodes > 1:
            lines = _lines(self.log)
            return [logged_progress(rank, lines) for rank in numbers]
        return [
            rank_progress(rank, _head(folder / f"rank-{rank}.jsonl", _LARGEST_RANK_BYTES)) for rank in numbers
        ]


def probe_launch(request: LaunchRequest, folder: Path, deadline_s: float) -> Launch:
    """The command line of a probe: torch's launcher as the stage has it, so that ranks meet as in training.

    On a CPU the script is its own launcher: there the launcher's import of torch would double the cost.
    """
    request = replace(request, master_port=free_port(), master_addr=socket.gethostname())
    words = _script_words(request, folder, deadline_s)
    if request.device == "cpu":
        argv = [*on_each_node(request), *words, *_fork_words(request)]
    else:
        # --use_env: else torch.distributed.launch adds an argument --local_rank (or --local-rank).
        bare = ["--use_env"] if request.launch_module == "torch.distributed.launch" else []
        argv = [*launcher(request), "--monitor_interval=0.1", *bare, *words]
    # Before torch 1.13 only this says why NCCL fails. What the user or the rung sets is kept.
    inherited = {"NCCL_DEBUG": os.environ.get("NCCL_DEBUG", "WARN")}
    return Launch(tuple(argv), {**inherited, **environment(request, os.environ)}, request.root)


def _script_words(request: LaunchRequest, folder: Path, deadline_s: float) -> Sequence[str]:
    sizes = map(str, _SIZES_MB[request.device])
    return [
        *(str(_SCRIPT), "--backend", request.rung.backend, "--device", request.device),
        *("--sizes-mb", *sizes, *(["--out", str(folder)] if request.nodes == 1 else [])),
        *("--stacks-after-s", f"{deadline_s * _STACKS_AT:g}"),
    ]


def _fork_words(request: LaunchRequest) -> Sequence[str]:
    """What makes the script a launcher."""
    words = ["--fork", str(request.nproc_per_node), f"--master_port={request.master_port}"]
    if request.nodes == 1:
        return words
    return [*words, f"--nnodes={request.nodes}", f"--master_addr={request.master_addr}"]


def _head(path: Path, size: int) -> str:
    with suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(size).decode("utf-8", errors="replace")
    return ""


def _lines(log: Path) -> list[str]:
    return _head(log, _LARGEST_LOG_BYTES).splitlines()
