"""A lease that is lost: its owner notices, and writes nothing more."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
from lease_process import BEAT_S, Supervisor, node

from support.supervising import eventually
from trainrelay.errors import Fenced, UserError
from trainrelay.supervise.lease.acquisition import acquire
from trainrelay.supervise.lease.claim import Claim
from trainrelay.supervise.lease.folder import add_claim, read_beat, write_beat
from trainrelay.supervise.lease.lease import Lease


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def lease(tmp_path: Path, said: list[str]) -> Lease:
    """A lease of this process that beats only when it is told to."""
    return acquire(tmp_path, "run/stage", said.append, lambda: False, beat_s=600)


def rival(stage_dir: Path, token: int) -> None:
    claim = Claim(
        token=token,
        owner="d" * 32,
        place=node("node9"),
        pid=4711,
        started_ticks=1,
        slurm_job="12",
        beat_s=BEAT_S,
        since_s=1e9,
    )
    assert add_claim(stage_dir / "lease", claim)


def files(stage_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (stage_dir / "lease").iterdir()}


@pytest.mark.process
def test_suspended_owner_that_returns_is_fenced(tmp_path: Path) -> None:
    """Taken over by another host meanwhile, it notices by itself and before each write."""
    with Supervisor("node1") as owner, Supervisor("node2") as taker:
        owner.acquire(tmp_path)
        owner.suspend()
        taken = taker.acquire(tmp_path)
        assert (taken["token"], taken["from"]) == (2, "node1")
        last_beat = read_beat(tmp_path / "lease", 1)
        owner.resume()
        guarded = owner.tell("guard")
        assert guarded["error"] == "Fenced"
        assert "the supervisor on node2" in guarded["message"]
        assert owner.tell("lost") == {"lost": guarded["message"]}
        owner.tell("release")
        assert read_beat(tmp_path / "lease", 1) == last_beat
        assert taker.tell("guard") == {"mine": True}


@pytest.mark.process
def test_owner_notices_within_a_beat_without_being_asked(tmp_path: Path) -> None:
    """Its beats tell it, so that it ends its trainer soon."""
    with Supervisor("node1") as owner:
        owner.acquire(tmp_path)
        rival(tmp_path, 2)
        eventually(lambda: owner.tell("lost")["lost"])


def test_guard_looks_before_the_next_beat(tmp_path: Path, lease: Lease) -> None:
    """Between two beats only a look of its own can tell; once lost, the lease stays lost."""
    lease.guard()
    rival(tmp_path, 2)
    assert lease.lost is None
    with pytest.raises(Fenced, match=r"node9 \(pid 4711, Slurm job 12\) took this stage over"):
        lease.guard()
    assert lease.lost is not None
    (tmp_path / "lease" / "000002.json").unlink()
    with pytest.raises(Fenced):
        lease.guard()


def test_damaged_claim_above_fences_as_well(tmp_path: Path, lease: Lease) -> None:
    """Whoever it was, somebody took a higher token."""
    (tmp_path / "lease" / "000002.json").write_bytes(b"")
    with pytest.raises(Fenced, match="another supervisor took this stage over"):
        lease.guard()


def test_release_of_a_lost_lease_writes_nothing(tmp_path: Path, lease: Lease) -> None:
    """What lies there then is the new owner's business."""
    rival(tmp_path, 2)
    before = files(tmp_path)
    lease.release()
    assert files(tmp_path) == before


def test_stage_folder_that_was_moved_fences(tmp_path: Path) -> None:
    """A lease in a folder that lies elsewhere now, or that another uses again, is lost."""
    stage_dir = tmp_path / "stage"
    with acquire(stage_dir, "run/stage", print, lambda: False, beat_s=600) as lease:
        stage_dir.rename(tmp_path / "stage.old-1")
        with pytest.raises(Fenced, match=r"000001\.json.*was moved, deleted or replaced.*run: snakemake"):
            lease.guard()
    assert not stage_dir.exists()
    with acquire(stage_dir, "run/stage", print, lambda: False, beat_s=600) as second:
        stage_dir.rename(tmp_path / "stage.old-2")
        with acquire(stage_dir, "run/stage", print, lambda: False) as third:
            assert third.token == second.token
            with pytest.raises(Fenced, match="replaced"):
                second.guard()
            third.guard()


def test_full_disk_does_not_cost_the_lease(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beats that cannot be written are told once and tried again; the lease stays ours."""
    full = [True]

    def sometimes(*arguments: object) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_beat(*arguments)  # type: ignore[arg-type]

    lease = acquire(tmp_path, "run/stage", said.append, lambda: False, beat_s=BEAT_S)
    monkeypatch.setattr("trainrelay.supervise.lease.lease.write_beat", sometimes)
    eventually(lambda: said)
    time.sleep(3 * BEAT_S)
    assert len(said) == 1
    assert "No space left on device" in said[0]
    lease.guard()
    before = read_beat(tmp_path / "lease", 1)
    full.clear()
    eventually(lambda: read_beat(tmp_path / "lease", 1) != before)
    lease.release()


def test_guard_says_when_it_cannot_look(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not knowing is no leave to write."""

    def gone(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", gone)
        with pytest.raises(UserError, match=r"cannot read .*Input/output error"):
            lease.guard()
    lease.guard()


@pytest.mark.process
def test_late_claim_below_the_highest_is_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Suspended between its look and its claim, while others came, went and were tidied away."""
    late = [True]

    def after_others(folder: Path, claim: Claim) -> bool:
        if late:
            late.clear()
            rival(tmp_path, 5)
        return add_claim(folder, claim)

    monkeypatch.setattr("trainrelay.supervise.lease.acquisition.add_claim", after_others)
    with acquire(tmp_path, "run/stage", print, lambda: False, beat_s=BEAT_S, place=node("node2")) as lease:
        assert lease.token == 6
        assert lease.taken_from is not None
