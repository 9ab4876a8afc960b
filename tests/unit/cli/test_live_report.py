"""The report of a stage that trains is written again and again, by a process that harms no training."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.supervising import eventually
from support.toy_project import ToyProject, make_checkout
from trainrelay.config import overview_path, report_path
from trainrelay.errors import Interrupted
from trainrelay.operations import live_report
from trainrelay.system.alive import all_processes, not_trainers
from trainrelay.training.attempts import list_attempts
from trainrelay.training.context import StageContext

pytestmark = pytest.mark.process

SLEEPS = "import time; time.sleep(60)"
GROWS = f"import time; time.sleep(1); held = bytearray(1 << 30); {SLEEPS}"  # once it is limited


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine what runs at idle priority may not run for minutes."""
    monkeypatch.setattr(os, "SCHED_IDLE", os.SCHED_OTHER)
    monkeypatch.setattr(os, "setpriority", lambda *_: None)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyProject:
    monkeypatch.chdir(tmp_path)
    return ToyProject(make_checkout(tmp_path, monkeypatch, 0.1), tmp_path / "runs")


def children() -> set[int]:
    """Of this process, those that live."""
    every = all_processes().values()
    return {one.pid for one in every if one.parent == os.getpid() and not one.gone}


@pytest.mark.usefixtures("at_once")
def test_the_pages_are_there_while_it_trains(toy: ToyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end writes none here: Slurm may give it seconds to be requeued."""
    monkeypatch.setattr(live_report, "_EVERY_S", 0.5)
    waiting = {"options": {"habit": "waits"}}
    page, overview = report_path(toy.config(), "r"), overview_path(toy.config())
    seen, before = list[str](), children()  # a browser of other tests, say

    def look() -> None:
        try:
            eventually(lambda: page.exists() and overview.exists())
            seen.extend([page.read_text(), str(list_attempts(toy.paths().folder)[-1].end)])
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    with pytest.raises(Interrupted):
        toy.train(**waiting)
    looking.join()
    assert "Attempt 1" in seen[0]
    assert seen[1] == "None"
    assert not not_trainers
    assert not children() - before


@contextmanager
def running(code: str) -> Iterator[tuple[int, threading.Event]]:
    """The pid of Python that runs it as the pages are written, and what ends that."""
    over = threading.Event()
    writer = threading.Thread(target=live_report._run, args=([sys.executable, "-c", code], over))
    writer.start()
    try:
        yield eventually(lambda: next(iter(not_trainers), None)), over
    finally:
        over.set()
        writer.join(10)
        assert not writer.is_alive()


def test_it_runs_when_nothing_else_does_and_is_the_first_to_go_where_memory_is_short() -> None:
    with running(SLEEPS) as (pid, over):
        score = Path(f"/proc/{pid}/oom_score_adj")
        eventually(lambda: score.read_text().strip() == "1000")
        assert os.sched_getscheduler(pid) == os.SCHED_IDLE
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        over.set()
        eventually(lambda: pid not in not_trainers)
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("limit", "most", "code"),
    [(resource.RLIMIT_AS, 1 << 30, GROWS), (resource.RLIMIT_CPU, 1, "while True: pass")],
)
def test_what_takes_too_much_memory_or_time_is_given_up(
    limit: int, most: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(live_report._LIMITS, limit, most)
    with running(code) as (pid, _):
        eventually(lambda: pid not in not_trainers)


def test_a_page_that_was_just_written_is_left_alone(toy: ToyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another stage of the run, or by you."""
    page, ran = report_path(toy.config(), "r"), list[object]()
    page.parent.mkdir(parents=True)
    page.write_text("fresh")
    monkeypatch.setattr(live_report, "_EVERY_S", 0.3)
    monkeypatch.setattr(live_report, "_run", lambda *given: ran.append(given))
    with live_report.reported(StageContext(toy.config(), "r", "s")):
        eventually(lambda: ran)
    assert time.time() - page.stat().st_mtime >= 0.3
