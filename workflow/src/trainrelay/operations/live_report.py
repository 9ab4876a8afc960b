"""The report of a run and the page of all runs, written again every few minutes while a stage trains.

By a separate process, at idle priority and within bounds: no log, however large, harms a training.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from trainrelay.config import report_path, save_snapshot
from trainrelay.errors import UserError
from trainrelay.system.alive import not_trainers
from trainrelay.system.hints import TYPED_VARIABLE
from trainrelay.system.say import say
from trainrelay.training.context import StageContext

_EVERY_S, _SELDOM_S = 300.0, 3600.0
_SHARE = 100  # times what the last one took are between two, at most 1% of a core
# s and bytes: UniAD's log takes 0.1 GB. Where Slurm limits a job's memory, it would count one that is killed.
_LIMITS = {resource.RLIMIT_CPU: 600, resource.RLIMIT_AS: 1 << 30}
_LOOK_S, _END_S = 0.2, 5.0


@contextmanager
def reported(at: StageContext) -> Iterator[None]:
    """Within it the pages are written again and again; what is being written at its end is given up."""
    over = threading.Event()
    writer = threading.Thread(target=_write_again, args=(at, over), daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join(_END_S)


def _write_again(at: StageContext, over: threading.Event) -> None:
    page, wait_s = report_path(at.config, at.run), _EVERY_S
    while not over.wait(wait_s):
        begun_s = time.monotonic()
        with suppress(OSError, UserError):  # a full disk, say
            if page.exists() and 0 <= time.time() - page.stat().st_mtime < _EVERY_S:
                continue  # another stage of the run trains, too, or you wrote it
            for verb in (["report", at.run], ["overview"]):
                config = ["--configfile", str(save_snapshot(at.config))]
                _run([sys.executable, "-m", "trainrelay", *verb, *config], over)
        wait_s = min(max(_EVERY_S, _SHARE * (time.monotonic() - begun_s)), _SELDOM_S)


def _run(argv: Sequence[str], over: threading.Event) -> None:
    """Runs a command to its end, or to that of its limits or of the training."""
    nothing = subprocess.DEVNULL
    env = {**os.environ, TYPED_VARIABLE: str(say.configfile)} if say.configfile else None
    process = subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing, env=env)
    not_trainers.add(process.pid)
    try:
        with suppress(OSError, ValueError):  # it has ended, or has closer limits
            os.setpriority(os.PRIO_PROCESS, process.pid, 19)
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000", encoding="ascii")
            for limit, most in _LIMITS.items():
                resource.prlimit(process.pid, limit, (most, most))
        while process.poll() is None and not over.wait(_LOOK_S):
            pass
    finally:
        process.kill()
        process.wait()
        not_trainers.discard(process.pid)
