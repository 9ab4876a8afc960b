"""What an observer concludes about a lease's owner from what it saw itself (pure).

Times are seconds of the observer's own monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.system.alive import Fate

# Of Slurm, about the owner's job. lost: it was given up, with its node or for a later run of the same job,
# which ends no process that Slurm cannot reach.
SlurmAnswer = Literal["running", "gone", "lost", "unknown"]

# All in beats of the owner.
STALE_BEATS = 6  # a counter that did not move for so long: nobody beats any more
SURE_BEATS = 2  # the same, where Slurm or a reboot says that the process is gone
QUIET_BEATS = 2  # a counter that moved, then did not for so long: it is no longer known to move
GAP_BEATS = 2  # two looks further apart: the observer itself was away, and begins again
NOTICE_BEATS = 2  # within which a fenced owner that still lives notices: one beat, and one to spare


@dataclass(frozen=True, slots=True)
class BeatHistory:
    """What uninterrupted looks at one owner amount to. `quiet_s`: for how long its counter did not move."""

    owner: str
    beat: bytes | None
    since_s: float
    last_s: float
    quiet_s: float = 0.0
    moved: bool = False


def after_look(
    before: BeatHistory | None, claim: Claim, beat: bytes | None, began_s: float, ended_s: float
) -> BeatHistory:
    """The observation after one more look at the highest claim; another owner or a gap begins it again.

    `beat` is the file's bytes, None if there is none yet.
    """
    # Who was suspended together with the owner saw nothing, however much time has passed.
    gap = before is not None and ended_s - before.last_s > GAP_BEATS * claim.beat_s
    if before is None or before.owner != claim.owner or gap:
        return BeatHistory(claim.owner, beat, since_s=ended_s, last_s=ended_s)
    if before.beat != beat:
        return BeatHistory(claim.owner, beat, ended_s, ended_s, moved=True)
    # From the end of the first look to the beginning of this one: what a slow read took does not count.
    return replace(before, last_s=ended_s, quiet_s=max(0.0, began_s - before.since_s))


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is concluded, and why. `wait_s`: how much longer the counter must not move.

    `may_live`: dead only because its counter stopped, so a process may come back and write.
    """

    kind: Literal["alive", "released", "dead", "unsure"]
    reason: str
    wait_s: float = 0.0
    may_live: bool = False


_BY_PROCESS: dict[Fate, Conclusion] = {
    "runs": Conclusion("alive", "its process runs on this host"),
    "stopped": Conclusion("alive", "its process is suspended on this host"),
    "gone": Conclusion("dead", "its process is gone from this host"),
}


def conclude(
    claim: Claim, beat: Beat | None, seen: BeatHistory, fate: Fate, slurm: SlurmAnswer
) -> Conclusion:
    """Whether the owner of a claim still holds it. No answer is never taken for its end."""
    if beat is not None and beat.released and beat.owner == claim.owner:
        return Conclusion("released", "it released the lease")
    if slurm == "lost" and fate in ("runs", "stopped", "elsewhere"):
        # It is fenced: whoever still beats sees the new claim within a beat.
        return Conclusion("dead", "Slurm has given up its job, or that run of it", may_live=True)
    if certain := _BY_PROCESS.get(fate):
        return certain
    if seen.moved and seen.quiet_s <= QUIET_BEATS * claim.beat_s:
        return Conclusion("alive", "its heartbeat changes")
    if slurm == "running":
        return Conclusion("alive", "Slurm says that its job runs")
    ended = "Slurm says that its job has ended" if slurm == "gone" else None
    return _by_silence(claim, seen, "its host was restarted" if fate == "rebooted" else ended)


def _by_silence(claim: Claim, seen: BeatHistory, told_gone: str | None) -> Conclusion:
    # Slurm may end the job of a lost node while its processes still run: so even then a short look.
    needed_s = (SURE_BEATS if told_gone else STALE_BEATS) * claim.beat_s
    if seen.quiet_s < needed_s:
        return Conclusion("unsure", told_gone or "nothing is known of it yet", needed_s - seen.quiet_s)
    if told_gone:
        return Conclusion("dead", told_gone)
    return Conclusion("dead", f"its heartbeat did not change for {needed_s:g} s", may_live=True)


def may_live(claim: Claim, beat: Beat | None, concluded: Conclusion) -> Claim | None:
    """The former owner that may still write: this one, or the one before if this one never began."""
    began = beat is not None and beat.began
    former = claim if concluded.may_live else None if began else claim.taken_from
    return former and former.model_copy(update={"taken_from": None})
