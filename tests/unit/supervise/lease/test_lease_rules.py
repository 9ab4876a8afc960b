"""What an observer concludes, from values alone."""

from __future__ import annotations

import pytest

from trainrelay.records import Place
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.supervise.lease.rules import (
    GAP_BEATS,
    STALE_BEATS,
    SURE_BEATS,
    BeatHistory,
    Conclusion,
    SlurmAnswer,
    after_look,
    conclude,
    may_live,
)
from trainrelay.system.alive import Fate

BEAT_S = 10.0
FORMER = Claim(
    token=6,
    owner="f" * 32,
    place=Place(host="node6"),
    pid=6,
    started_ticks=6,
    beat_s=BEAT_S,
    since_s=1e9,
)
CLAIM = FORMER.model_copy(update={"token": 7, "owner": "a" * 32, "place": Place(host="node7")})


def looks(beats: list[bytes | None], every_s: float = 1.0, owner: Claim = CLAIM) -> BeatHistory:
    """The observation of these beats, one look each `every_s`."""
    seen: BeatHistory | None = None
    for number, beat in enumerate(beats):
        seen = after_look(seen, owner, beat, number * every_s, number * every_s)
    assert seen
    return seen


def judged(seen: BeatHistory, fate: Fate = "elsewhere", slurm: SlurmAnswer = "unknown") -> Conclusion:
    return conclude(CLAIM, None, seen, fate, slurm)


def quiet(beats: float) -> BeatHistory:
    return BeatHistory(CLAIM.owner, b"1", since_s=0, last_s=beats * BEAT_S, quiet_s=beats * BEAT_S)


def test_counter_that_stands_still_is_dead_only_after_several_beats() -> None:
    """One second short of it nothing is concluded, and the wait is said; then it may still live."""
    too_short = looks([b"5"] * 60)
    assert judged(too_short) == Conclusion("unsure", "nothing is known of it yet", wait_s=1.0)
    long_enough = judged(looks([b"5"] * 61))
    assert (long_enough.kind, long_enough.may_live) == ("dead", True)


def test_owner_that_never_beat_is_watched_as_long() -> None:
    """Killed between its claim and its first beat: no beat is a counter that does not move."""
    assert judged(looks([None] * 60)).kind == "unsure"
    assert judged(looks([None] * 61)).kind == "dead"


def test_counter_that_moves_is_alive() -> None:
    """Whatever the bytes say, a change was made by somebody; also the first beat is one."""
    assert judged(looks([b"5", b"5", b"6"])).kind == "alive"
    assert judged(looks([None, b"1"])).kind == "alive"
    assert judged(looks([b"6", b"5"])).kind == "alive"


def test_gap_of_the_observer_begins_the_observation_again() -> None:
    """An observer that was suspended has seen nothing meanwhile, neither silence nor a move."""
    seen = looks([b"5"] * 50)
    away_s = seen.last_s + GAP_BEATS * BEAT_S + 1
    after = after_look(seen, CLAIM, b"5", away_s, away_s)
    assert (after.quiet_s, after.moved) == (0.0, False)
    assert not after_look(seen, CLAIM, b"9", away_s, away_s).moved
    in_time_s = away_s - 1
    assert after_look(seen, CLAIM, b"5", in_time_s, in_time_s).quiet_s == in_time_s


def test_another_owner_begins_the_observation_again() -> None:
    """What was seen of one owner says nothing about the next one."""
    after = after_look(looks([b"5"] * 50), FORMER, b"1", 49.5, 49.5)
    assert (after.owner, after.quiet_s, after.moved) == (FORMER.owner, 0.0, False)


def test_what_a_slow_read_took_is_not_silence() -> None:
    """Silence counts from the end of the first look to the beginning of the last."""
    first = after_look(None, CLAIM, b"5", 0, 9)
    assert after_look(first, CLAIM, b"5", 12, 19).quiet_s == 3


@pytest.mark.parametrize("seen", [quiet(0), quiet(100), looks([b"1", b"2"])])
def test_process_on_this_host_decides_at_once(seen: BeatHistory) -> None:
    """Neither silence nor a counter matters where the process itself can be seen; suspended is alive."""
    assert judged(seen, "runs").kind == "alive"
    assert judged(seen, "stopped").kind == "alive"
    gone = judged(seen, "gone", "running")
    assert (gone.kind, gone.may_live) == ("dead", False)


def test_released_is_free_for_everybody() -> None:
    """A released lease is free even if its process goes on; another owner's word does not release it."""
    said = Beat(owner=CLAIM.owner, counter=9, released=True)
    assert conclude(CLAIM, said, quiet(0), "runs", "running").kind == "released"
    others = said.model_copy(update={"owner": FORMER.owner})
    assert conclude(CLAIM, others, quiet(0), "runs", "running").kind == "alive"
    assert (
        conclude(CLAIM, said.model_copy(update={"released": False}), quiet(0), "runs", "unknown").kind
        == "alive"
    )


@pytest.mark.parametrize(
    ("fate", "slurm"), [("elsewhere", "gone"), ("rebooted", "unknown"), ("rebooted", "gone")]
)
def test_told_that_it_is_gone_a_short_look_is_enough(fate: Fate, slurm: SlurmAnswer) -> None:
    """Its death counts as proven after a short silence, unless its counter moves all the same."""
    assert judged(quiet(SURE_BEATS - 0.1), fate, slurm).kind == "unsure"
    dead = judged(quiet(SURE_BEATS), fate, slurm)
    assert (dead.kind, dead.may_live) == ("dead", False)
    assert judged(looks([b"1", b"2"]), fate, slurm).kind == "alive"


def test_job_that_runs_is_alive_however_silent() -> None:
    """A suspended job beats no more, and goes on one day."""
    assert judged(quiet(1000), slurm="running").kind == "alive"


@pytest.mark.parametrize("fate", ["runs", "stopped", "elsewhere"])
def test_owner_whose_job_slurm_gave_up_is_taken_over_though_it_lives(fate: Fate) -> None:
    """Its node is lost to Slurm, not to it: it is fenced at once, and may write where it wrote."""
    for seen in (quiet(0), looks([b"1", b"2"])):
        lost = judged(seen, fate, "lost")
        assert (lost.kind, lost.may_live) == ("dead", True)
    said = Beat(owner=CLAIM.owner, counter=9, released=True)
    assert conclude(CLAIM, said, quiet(0), fate, "lost").kind == "released"


def test_owner_that_is_gone_with_a_job_that_slurm_gave_up_writes_nothing() -> None:
    """Neither where its process is known to be gone, nor where its host was restarted."""
    assert not judged(quiet(0), "gone", "lost").may_live
    assert not judged(quiet(SURE_BEATS), "rebooted", "lost").may_live


def test_unknown_to_slurm_is_no_evidence_of_death() -> None:
    """What Slurm cannot say leaves the full observation."""
    assert judged(quiet(STALE_BEATS - 0.1), slurm="unknown").kind == "unsure"
    assert judged(quiet(STALE_BEATS), slurm="unknown").may_live


def test_former_owner_is_passed_on_until_the_next_one_began() -> None:
    """An owner that ended while it still waited has told nobody whom it took over from."""
    heir = CLAIM.model_copy(update={"taken_from": FORMER})
    released, silent = Conclusion("released", ""), Conclusion("dead", "", may_live=True)
    waiting, began = Beat(owner=heir.owner, counter=1), Beat(owner=heir.owner, counter=2, began=True)
    assert may_live(heir, waiting, released) == FORMER
    assert may_live(heir, None, Conclusion("dead", "")) == FORMER
    assert may_live(heir, began, released) is None
    assert may_live(heir, began, silent) == CLAIM
    assert may_live(heir, waiting, silent) == CLAIM
