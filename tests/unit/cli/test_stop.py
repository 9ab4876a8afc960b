"""`trainrelay stop` where nothing runs, or nobody reacts: what it says, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.stage_on_disk import OnDisk
from support.supervising import eventually
from trainrelay.cli import main
from trainrelay.config import Config
from trainrelay.errors import Interrupted, UserError
from trainrelay.operations.stop import stop_stage
from trainrelay.records import Place
from trainrelay.supervise import acquire, order_file
from trainrelay.supervise.stop import read_order
from trainrelay.system.alive import here, stat
from trainrelay.training.context import StageContext


def stop(config: Config, where: str = "r/s", **options: Any) -> None:
    stop_stage(StageContext(config, *where.split("/")), **options)


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    """A stage whose one attempt is open, its supervisor this process."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    disk.checkpoint.unlink()
    disk.change(end=None, ended_s=None, final_checkpoint=None)
    return disk


def silent(_: str) -> None:
    pass


@contextmanager
def held(disk: OnDisk, then: Callable[[], object], **options: Any) -> Iterator[None]:
    """The stage's lease, held in this process; a thread waits for the request, does `then`, and releases."""
    disk.paths.supervision.mkdir(parents=True)
    lease = acquire(disk.paths.supervision, "r/s", silent, lambda: False, **options)

    def owner() -> None:
        eventually(lambda: read_order(disk.paths.supervision))
        if then():
            lease.release()

    thread = threading.Thread(target=owner)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        lease.release()


@pytest.mark.process
@pytest.mark.parametrize("end", ["interrupted", "done"])
def test_nothing_to_stop_is_said_with_the_state_and_nothing_is_asked(
    disk: OnDisk, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    disk.change(end=end, ended_s=1.0)
    stop(disk.config())
    kind = "complete" if end == "done" else "resumable"
    assert capsys.readouterr().out.startswith(f"nothing to stop: r/s is {kind}: ")
    assert not order_file(disk.paths.supervision).exists()


@pytest.mark.process
def test_a_fresh_stage_has_nothing_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    stop(disk.config())
    assert capsys.readouterr().out == "nothing to stop: r/s is fresh: nothing trained yet\n"


def test_a_training_that_completes_meanwhile_is_told_as_that(
    disk: OnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    def completes() -> bool:
        disk.change(end="done", ended_s=1.0)
        return True

    with held(disk, completes):
        stop(disk.config())
    assert "r/s was complete before it was to stop" in capsys.readouterr().out


def test_a_supervisor_that_does_not_react_is_named_with_what_to_type(disk: OnDisk) -> None:
    with held(disk, lambda: False), pytest.raises(UserError) as raised:
        stop(disk.config(), reacts_within_s=0.5)
    assert "has not reacted for" in str(raised.value)
    assert f"stop it with: kill {os.getpid()}" in str(raised.value)
    assert read_order(disk.paths.supervision) is not None


def test_a_silent_owner_on_another_host_is_told_as_what_is_known(disk: OnDisk) -> None:
    """Its counter is watched by this observer; the request stays for the case that it comes back."""
    elsewhere = Place(host="node7", machine="m", boot="b", pid_namespace="4026531836")
    disk.change(host="node7", place=elsewhere)
    disk.paths.supervision.mkdir(parents=True)
    lease = acquire(disk.paths.supervision, "r/s", silent, lambda: False, beat_s=0.1, place=elsewhere)
    lease._ended.set()  # beats no more, as if its host were gone
    lease._beater.join()
    with pytest.raises(
        UserError,
        match=r"the supervisor on node7 .* cannot be heard: its heartbeat did not change.*; the stop request"
        " stays, so it stops if it comes back; if it does not, the next snakemake takes the stage over",
    ):
        stop(disk.config())
    assert read_order(disk.paths.supervision) is not None


@pytest.mark.process
def test_an_open_attempt_that_nobody_holds_the_lease_of_is_no_ones_to_ask(disk: OnDisk) -> None:
    disk.change(place=here(), supervisor_ticks=stat(os.getpid()).ticks)
    with pytest.raises(UserError, match=rf"nobody holds its lease.* run on that host: kill {os.getpid()}"):
        stop(disk.config())


def test_ctrl_c_while_waiting_leaves_the_request_and_says_so(disk: OnDisk) -> None:
    def ctrl_c() -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return False

    with held(disk, ctrl_c), pytest.raises(Interrupted, match=r"the stop request stays \(.*stop\.json\)"):
        stop(disk.config())
    assert read_order(disk.paths.supervision) is not None


@pytest.mark.process
@pytest.mark.parametrize(("which", "told"), [("r", "st"), ("r/t", "t")])
def test_a_run_stands_for_all_of_its_stages(
    disk: OnDisk, capsys: pytest.CaptureFixture[str], which: str, told: str
) -> None:
    disk.change(end="interrupted", ended_s=1.0)
    data = disk.config().model_dump(mode="json", by_alias=True)
    stages = data["runs"]["r"]["stages"]
    stages["t"] = {**stages["s"], "promotion": None}
    path = disk.base / "config.json"
    path.write_text(json.dumps(data))
    assert main(["stop", which, "--configfile", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" is ")[0] for line in lines] == [f"nothing to stop: r/{name}" for name in told]
