"""Who gets the lease: real processes, on this host and on others that they believe to be on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lease_process import BEAT_S, Supervisor, node

from support.supervising import eventually
from trainrelay.errors import Interrupted, Refusal, UserError
from trainrelay.supervise.lease.acquisition import acquire
from trainrelay.supervise.lease.claim import Beat, Claim
from trainrelay.supervise.lease.folder import add_claim, parsed_beat, read_beat, read_claim, write_beat
from trainrelay.supervise.lease.lease import Lease
from trainrelay.supervise.lease.rules import NOTICE_BEATS, STALE_BEATS, SURE_BEATS, SlurmAnswer
from trainrelay.system.alive import stat

JOB = "991"
SLOW_BEAT_S = 0.3  # of processes that must be seen to live, on a busy machine as well


def knows_nothing(job: str) -> SlurmAnswer:
    return "unknown"


def take(
    stage_dir: Path,
    host: str | None = None,
    *,
    said: list[str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    ask_slurm: Callable[[str], SlurmAnswer] = knows_nothing,
) -> Lease:
    """The lease, for this very process; `host`: it believes to run there."""
    say = print if said is None else said.append
    place = node(host) if host else None
    return acquire(stage_dir, "run/stage", say, stop, beat_s=BEAT_S, ask_slurm=ask_slurm, place=place)


def left_behind(stage_dir: Path, token: int = 1, counter: int = 5, **changes: object) -> Claim:
    """What a supervisor on node1 left that beats no more."""
    claim = Claim(
        token=token,
        owner="c" * 32,
        place=node("node1"),
        pid=os.getpid(),
        started_ticks=1,
        slurm_job=JOB,
        beat_s=BEAT_S,
        since_s=1e9,
    ).model_copy(update=changes)
    (stage_dir / "lease").mkdir(parents=True, exist_ok=True)
    assert add_claim(stage_dir / "lease", claim)
    write_beat(stage_dir / "lease", token, Beat(owner=claim.owner, counter=counter, began=True))
    return claim


def counter(stage_dir: Path, token: int) -> int:
    beat = parsed_beat(read_beat(stage_dir / "lease", token))
    return beat.counter if beat else 0


def answers(answer: SlurmAnswer, asked: list[str]) -> Callable[[str], SlurmAnswer]:
    def ask(job: str) -> SlurmAnswer:
        asked.append(job)
        return answer

    return ask


# ---------------------------------------------------------------------- this host


@pytest.mark.process
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh folders", "one folder"])
def test_of_two_that_start_at_the_same_moment_exactly_one_wins(tmp_path: Path, fresh: bool) -> None:
    """50 times, started within microseconds; the other is told who it is. A released lease is free again."""
    with Supervisor() as one, Supervisor() as other:
        for number in range(50):
            stage_dir = tmp_path / (f"stage{number}" if fresh else "stage")
            at_s = time.monotonic() + 0.01
            for supervisor in (one, other):
                supervisor.begin("acquire", stage_dir, at_s)
            found = [(one.answer(), one), (other.answer(), other)]
            won = [(answer, who) for answer, who in found if "token" in answer]
            lost = [answer for answer, _ in found if "token" not in answer]
            assert len(won) == len(lost) == 1
            (answer, winner), refusal = won[0], lost[0]
            assert (answer["token"], answer["from"]) == (1 if fresh else number + 1, None)
            assert refusal["error"] == "LivingOwner"
            assert f"pid {winner.pid}" in refusal["message"]
            winner.tell("release")


@pytest.mark.process
def test_living_owner_is_named(tmp_path: Path) -> None:
    """The refusal says who, since when, and what to type; nothing of the owner changes."""
    with Supervisor(job=JOB) as owner:
        owner.acquire(tmp_path)
        with pytest.raises(Refusal) as refusal:
            take(tmp_path)
        for part in (f"pid {owner.pid}", f"Slurm job {JOB}", "since 20", "trainrelay stop run/stage"):
            assert part in str(refusal.value)
        assert owner.tell("guard") == {"mine": True}


@pytest.mark.process
def test_suspended_owner_is_alive(tmp_path: Path) -> None:
    """It does not beat, and it is not taken over: it may go on at any moment."""
    with Supervisor() as owner:
        owner.acquire(tmp_path)
        owner.suspend()
        before = counter(tmp_path, 1)
        time.sleep(2 * STALE_BEATS * BEAT_S)
        assert counter(tmp_path, 1) == before
        with pytest.raises(Refusal, match=f"suspended on this host.*kill -CONT {owner.pid}"):
            take(tmp_path)
        owner.resume()
        assert owner.tell("guard") == {"mine": True}
        eventually(lambda: counter(tmp_path, 1) > before)


@pytest.mark.process
def test_killed_owner_is_taken_over_at_once(tmp_path: Path) -> None:
    """Its process is gone from this host: nothing needs to be watched, and nothing of it may still live."""
    said: list[str] = []
    with Supervisor(beat_s=600) as owner:
        owner.acquire(tmp_path)
        owner.kill()
        with take(tmp_path, said=said) as lease:
            assert (lease.token, lease.taken_from) == (2, None)
    assert len(said) == 1
    assert "its process is gone from this host" in said[0]


@pytest.mark.process
def test_released_lease_is_free_at_once(tmp_path: Path) -> None:
    """Also for another host, and while the former owner's process goes on."""
    with Supervisor(beat_s=600) as owner:
        owner.acquire(tmp_path)
        owner.tell("release")
        said: list[str] = []
        with take(tmp_path, "node2", said=said) as lease:
            assert (lease.token, lease.taken_from) == (2, None)
        assert not said


def test_lease_is_released_when_its_block_fails(tmp_path: Path) -> None:
    """An exception does not make the next supervisor wait."""
    with pytest.raises(RuntimeError), take(tmp_path):
        raise RuntimeError
    beat = parsed_beat(read_beat(tmp_path / "lease", 1))
    assert beat is not None
    assert beat.released


# ---------------------------------------------------------------------- another host


def test_silent_owner_of_another_host_is_taken_over_after_watching_it(tmp_path: Path) -> None:
    """It is told what is waited for, and that the former owner may still live."""
    former = left_behind(tmp_path)
    said: list[str] = []
    began_s = time.monotonic()
    with take(tmp_path, "node2", said=said) as lease:
        took_s = time.monotonic() - began_s
        assert (lease.token, lease.taken_from) == (2, former)
    assert took_s >= (STALE_BEATS + NOTICE_BEATS) * BEAT_S
    assert "taken over if its heartbeat does not change" in said[0]
    assert "so that the supervisor" in said[-1]


@pytest.mark.process
@pytest.mark.parametrize("off_s", [-600, 600])
def test_clock_of_the_other_host_does_not_matter(tmp_path: Path, off_s: float) -> None:
    """Ten minutes slow or fast, in the claim and in every file time: the same observation."""
    left_behind(tmp_path, since_s=time.time() + off_s)
    for path in (tmp_path / "lease").iterdir():
        os.utime(path, (time.time() + off_s,) * 2)
    began_s = time.monotonic()
    with take(tmp_path, "node2") as lease:
        assert lease.taken_from is not None
    assert time.monotonic() - began_s >= STALE_BEATS * BEAT_S
    with Supervisor("node1", beat_s=SLOW_BEAT_S) as owner:
        owner.acquire(tmp_path)
        for path in (tmp_path / "lease").glob("*.json"):
            os.utime(path, (time.time() + off_s,) * 2)
        with pytest.raises(Refusal, match="its heartbeat changes"):
            take(tmp_path, "node2")


@pytest.mark.process
def test_owner_of_another_host_whose_counter_moves_is_never_taken_over(tmp_path: Path) -> None:
    """Tried again and again, as long as it would take to find it dead: refused each time."""
    with Supervisor("node1", beat_s=SLOW_BEAT_S, job=JOB) as owner:
        owner.acquire(tmp_path)
        until_s = time.monotonic() + 1.5 * STALE_BEATS * SLOW_BEAT_S
        while time.monotonic() < until_s:
            with pytest.raises(Refusal, match=r"node1.*its heartbeat changes.*trainrelay stop run/stage"):
                take(tmp_path, "node2")
        assert owner.tell("guard") == {"mine": True}


@pytest.mark.process
def test_of_two_hosts_that_watch_the_same_silent_owner_one_takes_over(tmp_path: Path) -> None:
    """The other one sees the new owner's counter move."""
    left_behind(tmp_path)
    with Supervisor("node2", SLOW_BEAT_S) as one, Supervisor("node3", SLOW_BEAT_S) as other:
        for supervisor in (one, other):
            supervisor.begin("acquire", tmp_path, 0)
        found = [one.answer(), other.answer()]
        assert sorted("token" in answer for answer in found) == [False, True]
        assert [answer["error"] for answer in found if "error" in answer] == ["LivingOwner"]
        assert [answer["from"] for answer in found if "token" in answer] == ["node1"]


@pytest.mark.process
def test_suspended_observer_begins_again(tmp_path: Path) -> None:
    """Observer and owner are suspended together for longer than the observation: the owner goes on."""
    with Supervisor("node1", SLOW_BEAT_S) as owner, Supervisor("node2") as observer:
        owner.acquire(tmp_path)
        owner.suspend()
        observer.begin("acquire", tmp_path, 0)
        time.sleep(STALE_BEATS / 2 * SLOW_BEAT_S)  # it has seen the silent counter for a while
        observer.suspend()
        time.sleep(STALE_BEATS * SLOW_BEAT_S)
        observer.resume()
        time.sleep(0.2)
        owner.resume()
        assert observer.answer()["error"] == "LivingOwner"
        assert owner.tell("guard") == {"mine": True}


def test_stop_ends_the_waiting(tmp_path: Path) -> None:
    """Asked to stop while it watches, a supervisor ends, and the lease stays as it was."""
    left_behind(tmp_path, beat_s=600)
    said: list[str] = []
    with pytest.raises(Interrupted, match="run/stage: stopped on request"):
        take(tmp_path, "node2", said=said, stop=lambda: len(said) > 0)
    assert read_claim(tmp_path / "lease", 2) is None


def test_stop_after_the_takeover_keeps_the_former_owner_known(tmp_path: Path) -> None:
    """Who ends before it began passes on that somebody may still live; who began does not."""
    former = left_behind(tmp_path)
    said: list[str] = []
    with pytest.raises(Interrupted):
        take(
            tmp_path, "node2", said=said, stop=lambda: any("so that the supervisor" in text for text in said)
        )
    with take(tmp_path, "node3") as heir:
        assert (heir.token, heir.taken_from) == (3, former)
        heir.begin()
    with take(tmp_path, "node4") as later:
        assert later.taken_from is None


# ---------------------------------------------------------------------- Slurm


def test_job_that_slurm_has_ended_is_taken_over_after_a_short_look(tmp_path: Path) -> None:
    """Its death is proven, so nothing of it is avoided."""
    left_behind(tmp_path)
    said: list[str] = []
    asked: list[str] = []
    began_s = time.monotonic()
    with take(tmp_path, "node2", said=said, ask_slurm=answers("gone", asked)) as lease:
        assert lease.taken_from is None
    assert time.monotonic() - began_s >= SURE_BEATS * BEAT_S
    assert "Slurm says that its job has ended" in said[-1]
    assert asked == [JOB]


def test_job_that_runs_is_alive(tmp_path: Path) -> None:
    """A job that Slurm suspended does not beat: the refusal names it and what to type."""
    left_behind(tmp_path)
    with pytest.raises(Refusal, match=r"Slurm says that its job runs; .*trainrelay stop run/stage"):
        take(tmp_path, "node2", ask_slurm=answers("running", []))


def test_job_that_slurm_knows_nothing_of_is_watched_in_full(tmp_path: Path) -> None:
    """Unknown is no evidence: Slurm is asked again meanwhile, and the former owner may still live."""
    former = left_behind(tmp_path)
    asked: list[str] = []
    began_s = time.monotonic()
    with take(tmp_path, "node2", ask_slurm=answers("unknown", asked)) as lease:
        assert lease.taken_from == former
    assert time.monotonic() - began_s >= STALE_BEATS * BEAT_S
    assert len(asked) > 1


def test_slurm_is_not_asked_about_its_own_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A requeued job keeps its number: that it runs says nothing of its former run."""
    former = left_behind(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", JOB)
    asked: list[str] = []
    with take(tmp_path, "node2", ask_slurm=answers("running", asked)) as lease:
        assert lease.taken_from == former
    assert not asked


@pytest.mark.parametrize("host", ["node1", "node2"])
def test_later_run_of_a_requeued_job_takes_over_from_the_former_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Slurm requeued it because it lost the node: the owner may live on and beat, there or on this host."""
    former = left_behind(tmp_path, started_ticks=stat(os.getpid()).ticks)
    monkeypatch.setenv("SLURM_JOB_ID", JOB)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    said: list[str] = []
    with take(tmp_path, host, said=said) as lease:
        assert lease.taken_from == former
    assert "Slurm has given up its job" in said[0]


def test_another_start_in_the_same_run_of_a_job_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever types the same twice in one allocation has requeued nothing."""
    left_behind(tmp_path, started_ticks=stat(os.getpid()).ticks, slurm_restarts=1)
    monkeypatch.setenv("SLURM_JOB_ID", JOB)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(Refusal, match="its process runs on this host"):
        take(tmp_path, "node1")


# ---------------------------------------------------------------------- damage


def test_torn_beat_does_not_stop_a_takeover(tmp_path: Path) -> None:
    """After a power cut the owner's last beat may be empty: its silence is watched like any other."""
    former = left_behind(tmp_path)
    (tmp_path / "lease" / "000001.beat").write_bytes(b"")
    with take(tmp_path, "node2") as lease:
        assert lease.taken_from == former


def test_torn_claim_stops_everybody(tmp_path: Path) -> None:
    """Whose it is cannot be known; after what the sentence says to type, the lease is free."""
    left_behind(tmp_path)
    claim = tmp_path / "lease" / "000001.json"
    claim.write_bytes(b"")
    with pytest.raises(UserError, match=r"is damaged.*run: trainrelay doctor "):
        take(tmp_path, "node2")
    claim.rename(claim.with_name("000001.json.broken"))
    with take(tmp_path, "node2") as lease:
        assert lease.token == 1


def test_folder_that_takes_no_files_is_one_sentence(tmp_path: Path) -> None:
    """A lease that cannot be written is refused before anything starts."""
    (tmp_path / "lease").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*lease"):
        take(tmp_path)
