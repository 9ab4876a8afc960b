"""What an earlier supervisor left open: a trainer that goes on is found; what nobody follows is ended."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from trainrelay.alive import lives
from trainrelay.errors import Refusal
from trainrelay.records import AttemptRecord
from trainrelay.state import last_seen_s
from trainrelay.supervise.attempts import open_attempts, write_attempt
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.keeping import Keeper
from trainrelay.supervise.process import find

Say = Callable[[str], None]


def orphaned(job: StageJob) -> AttemptRecord | None:
    """The attempt on this host whose supervisor died and whose trainer goes on."""
    here = [attempt for attempt in open_attempts(job.stage_dir) if attempt.host == socket.gethostname()]
    newest = here[-1] if here else None
    if newest is None or lives(newest.supervisor_pid, newest.supervisor_start_s):
        return None
    return newest if find(newest.tag) else None


def settle(job: StageJob, say: Say) -> None:
    """Closes every attempt that has no end yet; Refusal where one may still be training here."""
    settle_elsewhere(job.stage_dir, say)
    for attempt in open_attempts(job.stage_dir):
        _settle_here(job, attempt, say)


def settle_elsewhere(stage_dir: Path, say: Say) -> None:
    """Closes the open attempts of other hosts, whose owners are gone or fenced: the caller holds the lease.

    Where one of them may still live, its work dir is left to it.
    """
    for attempt in open_attempts(stage_dir):
        if attempt.host != socket.gethostname():
            reason = f"its supervisor on {attempt.host} is gone or silent, and the stage was taken over"
            _mark_lost(stage_dir, attempt, reason, say)


def _settle_here(job: StageJob, attempt: AttemptRecord, say: Say) -> None:
    pid = attempt.supervisor_pid
    if lives(pid, attempt.supervisor_start_s):
        raise Refusal(
            f"{job.name} is training already: attempt {attempt.number}, supervisor pid {pid} on this host;"
            f" wait for it, or stop it with: kill {pid}"
        )
    ending = Keeper(job, say).end(attempt.tag, job.stop_grace_s)
    if ending.left:
        raise Refusal(
            f"attempt {attempt.number} of {job.name} left processes that not even SIGKILL ends, because they"
            f" wait inside the kernel: {ending.stuck}; look at this host's GPUs and file systems, then start"
            " again"
        )
    how = f"; {len(ending.ended)} processes that it left were ended" if ending.ended else ""
    _mark_lost(job.stage_dir, attempt, f"the supervisor (pid {pid}) died{how}", say)


def _mark_lost(stage_dir: Path, attempt: AttemptRecord, reason: str, say: Say) -> None:
    closed = attempt.model_copy(
        update={"end": "lost", "reason": reason, "ended_s": last_seen_s(stage_dir, attempt)}
    )
    write_attempt(stage_dir, closed)
    say(f"attempt {attempt.number} is lost: {reason}")
