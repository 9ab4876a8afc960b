"""What an earlier supervisor left open: a trainer that still runs is found; what nobody follows is ended."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from trainrelay.errors import Refusal
from trainrelay.records import AttemptRecord, EndClass
from trainrelay.slurm.ask import node_lost
from trainrelay.supervise.attempt_folders import open_attempts, write_attempt
from trainrelay.supervise.checkpoint_keeper import CheckpointKeeper
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.lease.lease import Say
from trainrelay.supervise.process_list import ProcessList
from trainrelay.system.alive import started_alike, supervisor_fate
from trainrelay.training.attempts import held_open, last_seen_s, list_attempts, living, still_run

_PATIENCE_S = 600.0  # ranks that hold GPUs or write to a slow disk may take minutes to die
_ASK_S = 5.0
_EVALUATES = re.compile(r"--?(eval|evaluate|test|validate|infer|inference|predict)([-_]only)?")
_LOOK_S = 2.0  # a scan of every process, for as long as minutes


def orphaned_attempt(job: StageJob) -> AttemptRecord | None:
    """The attempt on this host whose supervisor died and whose trainer still runs."""
    here = [attempt for attempt in open_attempts(job.stage_dir) if _is_here(attempt)]
    newest = here[-1] if here else None
    if newest is None or supervisor_fate(newest) != "gone":
        return None
    return newest if ProcessList(job.stage_dir, newest).trainers(job.trainer.named(job.request)) else None


def _is_here(attempt: AttemptRecord) -> bool:
    return supervisor_fate(attempt) in ("runs", "stopped", "gone")


def refuse_beside_living(stage_dir: Path, name: str) -> None:
    """Refusal if processes of the stage live that no start here follows or ends.

    They are of attempts that ended, of another pid namespace of this machine, or without a record.
    """
    ours = {attempt.tag for attempt in open_attempts(stage_dir) if _is_here(attempt)}
    if found := living(stage_dir, ours):
        raise Refusal(
            f"{name}: {still_run(found)}; what survives kill -9 is frozen (its cgroup) or waits inside the"
            " kernel: check this host's GPUs and file systems; then run the same command again"
        )
    if log := held_open(stage_dir, ours):
        raise Refusal(
            f"{name}: a process that cannot be seen from here (in another container or pid namespace of this"
            f" machine) still writes {log}; wait for it, or stop it there; then run the same command again"
        )


def wait_for_killed(stage_dir: Path, say: Say, stopped: Callable[[], bool]) -> None:
    """Returns once nothing of the stage lives that was killed; at the latest after 10 minutes."""
    until_s = time.monotonic() + _PATIENCE_S
    if found := _left_by(stage_dir):
        say(f"waiting for {found} of an earlier attempt to end")
    while found and not stopped() and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
        found = _left_by(stage_dir)


def _left_by(stage_dir: Path) -> str:
    """Who lives. One that is killed loses its memory, by which it is known, before its files; much on GPUs
    takes long."""
    log = held_open(stage_dir)
    return ", ".join(map(str, living(stage_dir))) or (f"a process that writes {log}" if log else "")


def close_open_attempts(job: StageJob, say: Say, *, within_launch: bool = False) -> None:
    """Closes every attempt that has no end yet; Refusal if one may still be training here.

    Within a launch, whatever a trainer of ours left is among our descendants: others only look like one.
    """
    for attempt in filter(_is_here, open_attempts(job.stage_dir)):
        _close_here(job, attempt, say)
    refuse_beside_living(job.stage_dir, job.name)
    _refuse_beside_trainers(job, say, within_launch=within_launch)
    close_attempts_elsewhere(job.stage_dir, say)


def _refuse_beside_trainers(job: StageJob, say: Say, *, within_launch: bool) -> None:
    """Refusal if what no record names may train this stage; a note of what evaluates it."""
    request, script = job.request, job.trainer.named(job.request)
    now = job.trainer.launch(request, os.environ).argv
    starts = [*(one.argv for one in list_attempts(job.stage_dir)), now]
    own = [{*argv[argv.index(script) :]} if script in argv else set() for argv in starts]
    for one, words in started_alike(request.root, script, request.work_dir).items():
        followed = zip(words, [*words[1:], "--"], strict=True)
        flags = {word for word, after in followed if _EVALUATES.fullmatch(word) and after.startswith("-")}
        other = within_launch and not any(start <= {*words} for start in own)
        if not (other or flags.difference(*own)):
            raise Refusal(
                f"{job.name}: {still_run([one])} (it has the script and the work dir of this stage as"
                " arguments, and no flag such as --eval)"
            )
        if within_launch:  # before that, it is not yet known whether one starts
            say(f"{one} has the script and the work dir of this stage, too; it is taken for an evaluation")


def close_attempts_elsewhere(stage_dir: Path, say: Say) -> None:
    """Closes the open attempts of other hosts, whose owners are gone or fenced: the caller holds the lease.

    Where one of them may still live, its work dir is left to it.
    """
    for attempt in open_attempts(stage_dir):
        if not _is_here(attempt):
            reason = f"its supervisor on {attempt.host} is gone or unreachable, and the stage was taken over"
            _mark_lost(stage_dir, attempt, reason, say)


def _close_here(job: StageJob, attempt: AttemptRecord, say: Say) -> None:
    pid = attempt.supervisor_pid
    if supervisor_fate(attempt) != "gone":
        raise Refusal(
            f"{job.name} is training already: attempt {attempt.number}, supervisor pid {pid} on this host;"
            f" wait for it, or stop it with: kill {pid}"
        )
    ending = CheckpointKeeper(job, say).end(ProcessList(job.stage_dir, attempt).kin, job.stop_grace_s)
    if ending.left:
        raise Refusal(
            f"attempt {attempt.number} of {job.name} left processes that survived SIGKILL, because they wait"
            f" inside the kernel: {ending.stuck}; check this host's GPUs and file systems; then run the same"
            " command again"
        )
    how = f"; {len(ending.ended)} processes that it left were ended" if ending.ended else ""
    _mark_lost(job.stage_dir, attempt, f"the supervisor (pid {pid}) died{how}", say)


def _mark_lost(stage_dir: Path, attempt: AttemptRecord, reason: str, say: Say) -> None:
    end: EndClass = "lost"
    if attempt.slurm and node_lost(attempt.slurm.job_id, attempt.slurm.nodes, _ASK_S):
        end, reason = "node", f"Slurm lost a node of its job ({attempt.slurm.nodes}); {reason}"
    found = {"end": end, "reason": reason, "ended_s": last_seen_s(stage_dir, attempt)}
    write_attempt(stage_dir, attempt.model_copy(update=found))
    say(f"attempt {attempt.number} is lost: {reason}")
