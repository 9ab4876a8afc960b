"""Taking the lease: at once, after watching an owner on another host that stopped beating, or not at all."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from trainrelay.errors import Interrupted, Refusal
from trainrelay.records import Place, SlurmRun
from trainrelay.slurm import ENDED, RUNNING
from trainrelay.slurm.ask import states_of
from trainrelay.supervise import slurm_run
from trainrelay.supervise.lease.claim import Claim, owner_of, what_to_run
from trainrelay.supervise.lease.folder import add_claim, highest, tidy
from trainrelay.supervise.lease.lease import Lease, Say
from trainrelay.supervise.lease.observe import LastOwner, Observer
from trainrelay.supervise.lease.rules import NOTICE_BEATS, SlurmAnswer, may_live
from trainrelay.system.alive import Fate, here, stat
from trainrelay.system.files import written_or_explained

BEAT_S = 10.0  # six of them (STALE_BEATS) are the minute after which a silent owner is taken over

_LOOK_S = 0.5  # between two looks at an owner, at most: a beat that begins is seen soon
_SAY_S = 20.0  # between two sentences about it: three in the minute that it may take
_ASK_BEATS = 3  # between two questions to Slurm, whose controller everybody asks

# Of each of the two commands: an observer that was away for GAP_BEATS, 20 s, begins to observe again.
_TIMEOUT_S = 5.0
_LOST = {"NODE_FAIL"}  # there the processes may still run
# Its node reported the end. Not PENDING: that is a requeued job, and its former run may have been lost
# with its node.
_GONE = ENDED - _LOST - {"BOOT_FAIL", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL"}

AskSlurm = Callable[[str], SlurmAnswer]


class LivingOwner(Refusal):
    """A living owner has the lease, so nothing is started beside it."""

    def __init__(self, name: str, seen: LastOwner) -> None:
        self.owner, self.fate = seen.claim, seen.process
        since = datetime.fromtimestamp(self.owner.since_s).strftime("%Y-%m-%d %H:%M:%S")
        stop = f"wait for it, or stop it with: trainrelay stop {name}"
        super().__init__(
            f"{name} is training already: {owner_of(self.owner)} holds its lease since {since} by that host's"
            f" clock, and {seen.concluded.reason};"
            f" {what_to_run(self.owner, self.fate) if self.fate == 'stopped' else stop}"
        )


def slurm_answer(job: str) -> SlurmAnswer:
    """Whether a job, by its number, still has processes that count; unknown where Slurm cannot be asked."""
    states = states_of(job, _TIMEOUT_S)
    if states & RUNNING:
        return "running"
    if not states or not states <= _GONE | _LOST:
        return "unknown"
    return "lost" if states & _LOST else "gone"


def acquire(
    stage_dir: Path,
    name: str,
    say: Say,
    stop: Callable[[], bool],
    *,
    beat_s: float = BEAT_S,
    ask_slurm: AskSlurm = slurm_answer,
    place: Place | None = None,
    before_claim: Callable[[], None] = lambda: None,
) -> Lease:
    """The lease of the stage `name` (RUN/STAGE), beating; `place` is where this process runs.

    `before_claim` is called once nobody holds it, before it is taken; what it raises leaves all as it is.

    If it has a `taken_from`, the caller writes that down and calls `begin`.

    An owner on this host is judged at once, the beat of one on another host is watched, up to
    a minute. Raises LivingOwner, which says what to run, Interrupted once `stop` says yes, UserError for
    damaged lease files or a folder that does not take ours.
    """
    ours = _Acquisition(stage_dir, name, say, stop, ask_slurm, place or here(), beat_s, before_claim)
    with written_or_explained(ours.folder):
        ours.folder.mkdir(parents=True, exist_ok=True)
        return ours.run()


@dataclass(slots=True)
class _Acquisition:
    """One supervisor on its way to the lease."""

    stage_dir: Path
    name: str
    say: Say
    stop: Callable[[], bool]
    ask_slurm: AskSlurm
    place: Place
    beat_s: float
    before_claim: Callable[[], None]
    slurm: SlurmRun | None = field(default_factory=lambda: slurm_run.here(os.environ))
    answer: tuple[str, float, SlurmAnswer] | None = None  # of Slurm: about which owner, when, what
    said_s: float = float("-inf")

    @property
    def folder(self) -> Path:
        """Of the lease's files."""
        return self.stage_dir / "lease"

    def run(self) -> Lease:
        """Competes until the lease is ours or a living owner has it."""
        observer = Observer(self.stage_dir, self.place, ask=self._slurm_says)
        while True:
            seen = self._when_free(observer)
            self.before_claim()
            claim = self._claim(seen)
            # Whoever was suspended before its link may make a claim far below the highest one.
            if add_claim(self.folder, claim) and highest(self.folder) == claim.token:
                return self._begin(claim, seen)

    def _claim(self, last: LastOwner | None) -> Claim:
        return Claim(
            token=last.claim.token + 1 if last else 1,
            owner=secrets.token_hex(16),
            place=self.place,
            pid=os.getpid(),
            started_ticks=stat(os.getpid()).ticks,
            slurm_job=self.slurm.job_id if self.slurm else None,
            slurm_restarts=self.slurm.restarts if self.slurm else 0,
            beat_s=self.beat_s,
            since_s=time.time(),
            taken_from=may_live(last.claim, last.beat, last.concluded) if last else None,
        )

    def _when_free(self, observer: Observer) -> LastOwner | None:
        """Returns once nobody holds the lease, its last owner."""
        while (seen := observer.look()) is not None and seen.concluded.kind in ("alive", "unsure"):
            if seen.concluded.kind == "alive":
                raise LivingOwner(self.name, seen)
            self._wait(seen)
        return seen

    def _slurm_says(self, owner: Claim, process: Fate) -> SlurmAnswer:
        """Of a requeued job Slurm knows only that it runs, and that is us: the owner was a former run."""
        if owner.slurm_job is None:
            return "unknown"
        if self.slurm and owner.slurm_job == self.slurm.job_id:
            return "lost" if owner.slurm_restarts < self.slurm.restarts else "unknown"
        if process not in ("elsewhere", "rebooted"):
            return "unknown"
        fresh_from_s = time.monotonic() - _ASK_BEATS * owner.beat_s
        if not self.answer or self.answer[0] != owner.owner or self.answer[1] < fresh_from_s:
            self.answer = (owner.owner, time.monotonic(), self.ask_slurm(owner.slurm_job))
        return self.answer[2]

    def _wait(self, seen: LastOwner) -> None:
        if time.monotonic() - self.said_s >= _SAY_S:
            self.said_s = time.monotonic()
            self.say(
                f"{owner_of(seen.claim)} holds the lease, {seen.concluded.reason}; taken over if its"
                f" heartbeat does not change for {seen.concluded.wait_s:.0f} s more"
            )
        self._pause(min(_LOOK_S, seen.claim.beat_s / 4))

    def _pause(self, seconds: float) -> None:
        if self.stop():
            raise Interrupted(f"{self.name}: stopped on request while it waited for the lease")
        time.sleep(seconds)

    def _begin(self, claim: Claim, last: LastOwner | None) -> Lease:
        lease = Lease(self.folder, claim, self.name, self.say)
        lease.start()
        try:
            if last and last.concluded.kind != "released":
                self.say(f"took the lease over from {owner_of(last.claim)}: {last.concluded.reason}")
            tidy(self.folder, claim.token)
            if claim.taken_from:
                self._let_notice(claim.taken_from)
            lease.guard()
            if lease.taken_from is None:
                lease.begin()
        except BaseException:
            lease.release()
            raise
        return lease

    def _let_notice(self, former: Claim) -> None:
        wait_s = NOTICE_BEATS * former.beat_s
        self.say(f"waiting {wait_s:.0f} s so that {owner_of(former)} notices, if it is still alive")
        until_s = time.monotonic() + wait_s
        while time.monotonic() < until_s:
            self._pause(min(_LOOK_S, former.beat_s / 4))
