"""Taking the lease: at once, after watching an owner on another host that stopped beating, or not at all."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainrelay.errors import Interrupted, Refusal
from trainrelay.records import Place, SlurmRun
from trainrelay.supervise import slurm_run
from trainrelay.supervise.attempt_folders import explained
from trainrelay.supervise.lease import slurm
from trainrelay.supervise.lease.claim import Claim
from trainrelay.supervise.lease.folder import add_claim, highest, parsed_beat, tidy
from trainrelay.supervise.lease.lease import Lease, Say
from trainrelay.supervise.lease.messages import owner_of, refused
from trainrelay.supervise.lease.observe import look
from trainrelay.supervise.lease.rules import (
    NOTICE_BEATS,
    BeatHistory,
    Conclusion,
    SlurmAnswer,
    after_look,
    conclude,
    may_live,
)
from trainrelay.system.alive import Fate, fate, here, stat

BEAT_S = 10.0  # six of them (STALE_BEATS) are the minute after which a silent owner is taken over

_LOOK_S = 0.5  # between two looks at an owner, at most: a beat that begins is seen soon
_SAY_S = 20.0  # between two sentences about it: three in the minute that it may take
_ASK_BEATS = 3  # between two questions to Slurm, whose controller everybody asks

AskSlurm = Callable[[str], SlurmAnswer]


class LivingOwner(Refusal):
    """A living owner has the lease."""

    def __init__(self, message: str, owner: Claim, fate: Fate) -> None:
        super().__init__(message)
        self.owner, self.fate = owner, fate


def acquire(
    stage_dir: Path,
    name: str,
    say: Say,
    stop: Callable[[], bool],
    *,
    beat_s: float = BEAT_S,
    ask_slurm: AskSlurm = slurm.ask,
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
    ours = _Acquisition(
        stage_dir / "lease", name, say, stop, ask_slurm, place or here(), beat_s, before_claim
    )
    with explained(ours.folder):
        ours.folder.mkdir(parents=True, exist_ok=True)
        return ours.run()


@dataclass(frozen=True, slots=True)
class _Free:
    """A lease that nobody holds: the highest token, the owner that may still live, what there is to say."""

    token: int
    former: Claim | None = None
    said: str = ""


@dataclass(slots=True)
class _Acquisition:
    """One supervisor on its way to the lease."""

    folder: Path
    name: str
    say: Say
    stop: Callable[[], bool]
    ask_slurm: AskSlurm
    place: Place
    beat_s: float
    before_claim: Callable[[], None]
    slurm: SlurmRun | None = field(default_factory=lambda: slurm_run.here(os.environ))
    seen: BeatHistory | None = None
    answer: tuple[str, float, SlurmAnswer] | None = None  # of Slurm: about which owner, when, what
    said_s: float = float("-inf")

    def run(self) -> Lease:
        """Competes until the lease is ours or a living owner has it."""
        while True:
            free = self._when_free()
            self.before_claim()
            claim = self._claim(free)
            # Whoever was suspended before its link may make a claim far below the highest one.
            if add_claim(self.folder, claim) and highest(self.folder) == claim.token:
                return self._begin(claim, free)

    def _claim(self, free: _Free) -> Claim:
        return Claim(
            token=free.token + 1,
            owner=secrets.token_hex(16),
            place=self.place,
            pid=os.getpid(),
            started_ticks=stat(os.getpid()).ticks,
            slurm_job=self.slurm.job_id if self.slurm else None,
            slurm_restarts=self.slurm.restarts if self.slurm else 0,
            beat_s=self.beat_s,
            since_s=time.time(),
            taken_from=free.former,
        )

    def _when_free(self) -> _Free:
        """Returns once nobody holds the lease."""
        while (seen := look(self.folder)) is not None:
            owner, beat = seen.claim, parsed_beat(seen.beat)
            process = fate(owner.pid, owner.started_ticks, owner.place, self.place)
            self.seen = after_look(self.seen, seen)
            concluded = conclude(owner, beat, self.seen, process, self._slurm_says(owner, process))
            if concluded.kind == "alive":
                raise LivingOwner(refused(self.name, owner, concluded, process), owner, process)
            if concluded.kind != "unsure":
                took = f"took the lease over from {owner_of(owner)}: {concluded.reason}"
                said = "" if concluded.kind == "released" else took
                return _Free(owner.token, may_live(owner, beat, concluded), said)
            self._wait(owner, concluded)
        return _Free(0)

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

    def _wait(self, owner: Claim, concluded: Conclusion) -> None:
        if time.monotonic() - self.said_s >= _SAY_S:
            self.said_s = time.monotonic()
            self.say(
                f"{owner_of(owner)} holds the lease, {concluded.reason}; taken over if its heartbeat does not"
                f" change for {concluded.wait_s:.0f} s more"
            )
        self._pause(min(_LOOK_S, owner.beat_s / 4))

    def _pause(self, seconds: float) -> None:
        if self.stop():
            raise Interrupted(f"{self.name}: stopped on request while it waited for the lease")
        time.sleep(seconds)

    def _begin(self, claim: Claim, free: _Free) -> Lease:
        lease = Lease(self.folder, claim, self.name, self.say)
        lease.start()
        try:
            if free.said:
                self.say(free.said)
            tidy(self.folder, claim.token)
            if free.former:
                self._let_notice(free.former)
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
