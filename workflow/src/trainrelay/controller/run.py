"""Inside the controller's job: Snakemake as a child, its lock, and what the signals of Slurm mean.

To a Snakemake that follows live trainings, SIGINT and SIGTERM mean Ctrl-C: the trainings save and end. One
that is killed leaves them alone, and the next one finds them again. So at the time limit Snakemake is killed
and the job requeued; only where the job is cancelled does Snakemake hear of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from trainrelay.controller import locks
from trainrelay.controller.job import of_folder
from trainrelay.errors import NoAnswer, Refusal, SlurmError, UserError
from trainrelay.slurm import RUNNING, QueueRow, own_run, scrubbed
from trainrelay.slurm.ask import live_jobs, own_job, requeue, setting
from trainrelay.training.launch_id import LAUNCH_VARIABLE, OF_CONTROLLER

_LOOK_S = 0.2  # between two looks at Snakemake and its lock: short beside any job of it
_AGAIN_S = 5.0  # spares a slurmctld that does not answer
_LAST_WORDS_S = 60.0  # after a requeue Slurm ends this process: twice the default KillWait
_ASK_IN_A_HURRY_S = 10.0  # Slurm's KillWait leaves 30 s (its default) after a signal

Say = Callable[[str], None]
Answer = TypeVar("Answer")
# cancel: pass it to Snakemake; requeue: continue as a new run of this job; leave: Slurm sees to that itself.
Reaction = Literal["cancel", "requeue", "leave"]


def _hear() -> list[signal.Signals]:
    """The signals from now on, in order; taken note of, never acted on inside a handler."""
    heard: list[signal.Signals] = []
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(signum, lambda number, _frame: heard.append(signal.Signals(number)))
    return heard


def reaction(heard: Sequence[signal.Signals], own: QueueRow | None, restarts: int) -> Reaction:
    """What the signals want (pure). `own`: how Slurm sees this job now; `restarts`: of this very run."""
    if signal.SIGUSR2 in heard:
        return "requeue"
    if own is None or int(own.restarts) > restarts or own.state == "PENDING":
        return "leave"  # requeued by another; or nobody knows, and the trainings keep running
    if own.state in RUNNING or own.reason == "TimeLimit":
        return "requeue"  # Slurm wants its node, or its time is up
    return "cancel"


def control(arguments: Sequence[str], resubmit: Callable[[str], str], say: Say) -> int:
    """Runs Snakemake with these arguments to its end; its exit status.

    `resubmit` submits a job like this one, to start after the job that it is given, and names it. Refusal
    where another controller works in this folder.
    """
    heard = _hear()
    job_id = own_run(os.environ).job_id
    if not job_id:
        raise UserError("trainrelay control runs inside a Slurm job; run: trainrelay submit")
    _unlock_folder(arguments, job_id, say)
    child = subprocess.Popen(
        _snakemake(*arguments, "--rerun-incomplete"), env=_env(job_id), start_new_session=True
    )
    return _SnakemakeRun(child, job_id, heard, resubmit, say).to_its_end()


def _snakemake(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", *arguments]


def _env(job_id: str) -> dict[str, str]:
    """What Snakemake submits is not part of this job; but over all its runs it is one call of Snakemake."""
    launch = {LAUNCH_VARIABLE: f"{OF_CONTROLLER}{job_id}"}
    return {**scrubbed(os.environ), **launch, "PYTHONUNBUFFERED": "1"}


def _unlock_folder(arguments: Sequence[str], job_id: str, say: Say) -> None:
    live = _answered(live_jobs, say)
    if older := [job for job in of_folder(str(Path.cwd()), live) if int(job.job_id) < int(job_id)]:
        raise Refusal(f"job {older[0].job_id} runs the workflow in this folder already; this one ends")
    lock = locks.lock_state(job_id, [job.job_id for job in live])
    if lock == "held":
        raise Refusal(
            "a snakemake that trainrelay submit did not start has locked this folder, so this job ends; if"
            " none runs any more, run: snakemake --unlock, then trainrelay submit again"
        )
    if lock == "stale":
        say("an earlier run of the controller left Snakemake's lock; removing it")
        subprocess.run(_snakemake(*arguments, "--unlock"), env=_env(job_id), check=False)


def _answered(question: Callable[[], Answer], say: Say) -> Answer:
    """Asks Slurm until it answers: a controller has time. SlurmError: it refuses."""
    while True:
        try:
            return question()
        except NoAnswer as error:
            say(f"{error}; asking again")
            time.sleep(_AGAIN_S)


@dataclass
class _SnakemakeRun:
    """One Snakemake, watched over until its end."""

    child: subprocess.Popen[bytes]
    job_id: str
    heard: list[signal.Signals]
    resubmit: Callable[[str], str]
    say: Say
    noted: dict[str, str] = field(default_factory=dict)
    told: bool = False  # the signal for it was sent to Snakemake
    unanswered: bool = False  # a submission of the next job

    def to_its_end(self) -> int:
        """The exit status of Snakemake, or of this run where the job continues in another."""
        while (status := self.child.poll()) is None:
            self._note_locks()
            if self.heard and not self.told:
                what = self._reaction()
                if what != "cancel":
                    return self._hand_over(what)
                self._cancel()
            time.sleep(_LOOK_S)
        if not locks.lock_files():
            locks.remove_note()
        return status if status >= 0 else 128 - status

    def _note_locks(self) -> None:
        now = locks.lock_files()
        if now and now != self.noted:
            self.noted = now
            locks.write_note(self.job_id, now)

    def _reaction(self) -> Reaction:
        own = None
        if signal.SIGUSR2 not in self.heard:
            try:
                own = own_job(self.job_id, _ASK_IN_A_HURRY_S)
            except SlurmError as error:
                self.say(f"{error}; the trainings keep running")
        return reaction(self.heard, own, own_run(os.environ).restarts)

    def _cancel(self) -> None:
        self.told = True
        self.say("cancelled: the trainings save and end; to resume, run: trainrelay submit")
        if not _reaches_children():
            self.child.send_signal(signal.SIGINT)

    def _hand_over(self, what: Reaction) -> int:
        """Ends Snakemake without a signal to it first, and this run of the job."""
        self.child.kill()
        self.child.wait()
        self._note_locks()
        if what == "requeue":
            self._requeue()
        else:
            self.say("Slurm restarts this job; the trainings keep running")
            time.sleep(_LAST_WORDS_S)
        return 1

    def _requeue(self) -> None:
        try:
            _answered(partial(requeue, self.job_id), self.say)
            self.say("the time of this run is up; requeued, the trainings keep running")
        except SlurmError as error:
            new = _answered(self._next_job, self.say)
            self.say(f"the time of this run is up, and it cannot be requeued ({error}); job {new} continues")

    def _next_job(self) -> str:
        """A new job, or the one that a submission without an answer became.

        One that appears only later makes two: the younger one ends at its start.
        """
        younger = list[str]()
        if self.unanswered:
            ours = of_folder(str(Path.cwd()), live_jobs())
            younger = [job.job_id for job in ours if int(job.job_id) > int(self.job_id)]
        self.unanswered = True
        return younger[0] if younger else self.resubmit(self.job_id)


def _reaches_children() -> bool:
    """Whether scancel signals every process of a job here: a second Ctrl-C would end trainings at once."""
    try:
        return setting("ProctrackType", _ASK_IN_A_HURRY_S) == "proctrack/linuxproc"
    except SlurmError:
        return False
