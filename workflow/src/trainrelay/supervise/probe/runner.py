"""Probes a rung, or a ladder: the ranks of a stage, started as its training is, in the trainer's Python."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from trainrelay.errors import Interrupted
from trainrelay.records import ProbeResult
from trainrelay.supervise.nodes import end_everywhere, steps_of
from trainrelay.supervise.probe.results import RankProgress, is_over, judge, rank_progress, result_text
from trainrelay.supervise.process import start_explained, start_prefixed
from trainrelay.supervise.process_list import Child
from trainrelay.system.alive import Kin, stat
from trainrelay.system.ports import free_port
from trainrelay.trainers import Launch, LaunchRequest, Rung, environment, launcher

_SCRIPT = Path(__file__).resolve().with_name("ranks.py")
# DistributedDataParallel's buckets of gradients are 25 MB, those of its first broadcast 250 MB. On a CPU
# there is no transport to choose, so it is enough that the ranks meet and add up: 1 MB is the first bucket,
# and 4 MB goes out in pieces, as gloo sends 1 MB at once; both together take a tenth of a second.
_SIZES_MB: Mapping[str, tuple[int, ...]] = {"cuda": (25, 256), "cpu": (1, 4)}
_STACKS_AT = 0.8  # of the deadline: late enough to be a hang, early enough to be written
_LOOK_S = 0.05
_LAST_LOOKS = 40  # 2 s after the first error: torch's launcher looks every 0.1 s (--monitor_interval)
_LONGEST_LOOK_S = 5.0  # what is longer is a gap of ours (a suspended job), and the ranks had it, too
_PORT_TAKEN = re.compile(r"EADDRINUSE|address already in use", re.IGNORECASE)
_LARGEST_LOG_BYTES = 16 * 1024 * 1024  # NCCL_DEBUG=INFO prints much


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
        process = self._start(probe_launch(self.request, self.deadline_s), tag)
        child, kin = Child(process), Kin(tag, (stat(process.pid).key,))
        try:
            took_s = self._wait(child)
            self._hear_out(child)
            status = None if child.running() else child.status()
        finally:
            end_everywhere(steps_of(self.request), kin, grace_s=0.0)
        child.status()  # so that the launcher does not stay behind as a zombie
        verdict = judge(self._ranks(), self._lines(), status, took_s)
        name = self.request.rung.name
        return ProbeResult(rung=name, seconds=took_s, log=str(self.log), **verdict._asdict())

    def _start(self, launch: Launch, tag: str) -> subprocess.Popen[bytes]:
        with start_explained(f"probe {self.request.rung.name}", launch.argv[0]):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.unlink(missing_ok=True)
            return start_prefixed(launch, self.request, self.log, tag)

    def _wait(self, child: Child) -> float:
        """Until the outcome is clear or the deadline is over; the seconds that it took."""
        spent_s, last_s = 0.0, self.clock()
        while spent_s < self.deadline_s and child.running() and not is_over(self._ranks()):
            if self.stopped():
                raise Interrupted(f"stopped on request while {self.request.rung.name} was probed")
            time.sleep(_LOOK_S)
            now_s = self.clock()
            spent_s, last_s = spent_s + min(now_s - last_s, _LONGEST_LOOK_S), now_s
        return spent_s

    def _hear_out(self, child: Child) -> None:
        """After a rank's error: its launcher may be about to report that another rank crashed before."""
        for _ in range(_LAST_LOOKS if any(rank.error for rank in self._ranks()) else 0):
            if not child.running() or self.stopped():
                return
            time.sleep(_LOOK_S)

    def _ranks(self) -> list[RankProgress]:
        return rank_progress(self._lines(), self.request.nproc_per_node * self.request.nodes)

    def _lines(self) -> list[str]:
        with suppress(FileNotFoundError), self.log.open("rb") as file:
            return file.read(_LARGEST_LOG_BYTES).decode("utf-8", errors="replace").splitlines()
        return []


def probe_launch(request: LaunchRequest, deadline_s: float) -> Launch:
    """The command line of a probe: the stage's own launcher, so that ranks meet as in training."""
    request = replace(request, master_port=free_port(), master_addr=socket.gethostname())
    argv = [
        *(*launcher(request), "--monitor_interval=0.1"),
        # Else torch.distributed.launch adds an argument --local_rank (or --local-rank).
        *(["--use_env"] if request.launch_module == "torch.distributed.launch" else []),
        *(str(_SCRIPT), "--backend", request.rung.backend, "--device", request.device),
        *("--sizes-mb", *map(str, _SIZES_MB[request.device])),
        *("--stacks-after-s", f"{deadline_s * _STACKS_AT:g}"),
    ]
    # Before torch 1.13 only this says why NCCL fails. What the user or the rung sets is kept.
    inherited = {"NCCL_DEBUG": os.environ.get("NCCL_DEBUG", "WARN")}
    return Launch(tuple(argv), {**inherited, **environment(request, os.environ)}, request.root)


def probe_ladder(
    rungs: Sequence[Rung], probe_one: Callable[[Rung], ProbeResult], say: Callable[[str], None]
) -> list[ProbeResult]:
    """Probes rungs, best first, and stops at the first that works: the last result, if any does."""
    results: list[ProbeResult] = []
    for number, rung in enumerate(rungs, start=1):
        result = probe_one(rung)
        results.append(result)
        text = result_text(result)
        if result.outcome == "works":
            say(f"warning: falls back to {result.rung}: {text}" if number > 1 else text)
            break
        following = f"trying {rungs[number].name}" if number < len(rungs) else "no other backend is left"
        say(f"warning: {text}; {following}; log: {result.log}")
    return results
