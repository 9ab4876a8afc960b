"""A lease looked at from outside, by the observer's own clock; owners are processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from lease_process import BEAT_S, Supervisor, node

from support.supervising import eventually
from trainrelay.supervise.lease.observe import Observer

pytestmark = pytest.mark.process


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def moved(observer: Observer) -> bool:
    seen = observer.look()
    return seen is not None and seen.concluded.kind == "alive"


def test_a_lease_that_nobody_ever_held_is_none(tmp_path: Path) -> None:
    assert Observer(tmp_path).look() is None
    assert list(tmp_path.iterdir()) == []


def test_an_owner_on_this_host_is_known_at_once(tmp_path: Path) -> None:
    with Supervisor() as owner:
        owner.acquire(tmp_path)
        seen = Observer(tmp_path).look()
        assert seen is not None
        assert (seen.concluded.kind, seen.process, seen.claim.pid) == ("alive", "runs", owner.pid)
        owner.kill()
        after = Observer(tmp_path).look()
        assert after is not None
        assert (after.concluded.kind, after.process) == ("dead", "gone")


def test_an_owner_elsewhere_is_alive_only_while_its_counter_moves(tmp_path: Path) -> None:
    """Unsure at first, alive once the counter moved; then silent, and at last dead."""
    clock = Clock()
    with Supervisor("node7") as owner:
        owner.acquire(tmp_path)
        observer = Observer(tmp_path, node("here"), clock)
        first = observer.look()
        assert first is not None
        assert first.concluded.kind == "unsure"
        eventually(lambda: moved(observer))
        owner.kill()
        observer.look()
        kinds = []
        for _ in range(7):
            clock.now_s += 0.9 * BEAT_S
            seen = observer.look()
            assert seen is not None
            kinds.append(seen.concluded.kind)
        assert kinds == ["alive"] * 2 + ["unsure"] * 4 + ["dead"]


def test_a_released_lease_is_seen_as_that(tmp_path: Path) -> None:
    with Supervisor("node7") as owner:
        owner.acquire(tmp_path)
        owner.tell("release")
        seen = Observer(tmp_path, node("here")).look()
        assert seen is not None
        assert seen.concluded.kind == "released"
