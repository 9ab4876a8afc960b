"""Attempt folders and what an earlier supervisor left in them."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from support.supervising import carrying, eventually, supervisor, toy_job
from trainrelay.errors import Refusal, UserError
from trainrelay.records import AttemptRecord, Place
from trainrelay.supervise import StageJob
from trainrelay.supervise.attempt_folders import NumberTaken, attempt_folder, next_number, open_attempt
from trainrelay.supervise.recover import close_open_attempts
from trainrelay.system.alive import here, stat
from trainrelay.training.attempts import list_attempts

DEAD_PID = 2**22 + 1  # above the largest pid that Linux gives


@pytest.fixture
def job(tmp_path: Path) -> StageJob:
    return toy_job(tmp_path, tmp_path / "no templates")


def record(number: int = 1, **changes: object) -> AttemptRecord:
    plain = AttemptRecord(
        number=number,
        tag=f"tag-{number}-{os.getpid()}-{time.monotonic_ns()}",
        host=socket.gethostname(),
        supervisor_pid=DEAD_PID,
        place=here(),
        supervisor_ticks=1,
        argv=["python"],
        env={},
        cwd="/",
        log="log",
        backend="gloo",
        world_size=2,
        epochs=3,
        resumed_from=None,
        started_s=1.0,
    )
    return plain.model_copy(update=changes)


def test_attempts_are_numbered_from_1_and_hold_their_record(job: StageJob) -> None:
    """The folder appears together with its record; numbers go past 999 and skip what is not ours."""
    for number in (1, 2):
        assert next_number(job.stage_dir) == number
        open_attempt(job.stage_dir, record(number))
        assert attempt_folder(job.stage_dir, number).name == f"00{number}"
    (job.stage_dir / "attempts" / "notes").mkdir()
    (job.stage_dir / "attempts" / "1041").mkdir()
    assert next_number(job.stage_dir) == 1042
    assert [attempt.number for attempt in list_attempts(job.stage_dir)] == [1, 2]


def test_one_of_two_supervisors_gets_a_number(job: StageJob) -> None:
    """The second to open an attempt is told so, and leaves the first one's record and no rubbish."""
    number = next_number(job.stage_dir)
    first = record(number)
    open_attempt(job.stage_dir, first)
    with pytest.raises(NumberTaken):
        open_attempt(job.stage_dir, record(number))
    assert list_attempts(job.stage_dir) == (first,)
    assert [path.name for path in job.stage_dir.iterdir()] == ["attempts"]


def test_damaged_record_is_one_sentence(job: StageJob) -> None:
    """A truncated attempt.json is named; nothing is started beside it."""
    open_attempt(job.stage_dir, record(next_number(job.stage_dir)))
    path = attempt_folder(job.stage_dir, 1) / "attempt.json"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"attempt\.json is damaged \("):
        close_open_attempts(job, print)


def test_folder_that_cannot_be_written_is_one_sentence(job: StageJob) -> None:
    """A stage folder where nothing can be made is named."""
    job.stage_dir.parent.mkdir(parents=True)
    job.stage_dir.write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*stage1.*Not a directory"):
        next_number(job.stage_dir)


def test_living_supervisor_is_not_disturbed(job: StageJob) -> None:
    """An attempt whose supervisor lives is refused, with its pid and what to type."""
    me = stat(os.getpid())
    living = record(next_number(job.stage_dir), supervisor_pid=me.pid, supervisor_ticks=me.ticks)
    open_attempt(job.stage_dir, living)
    with pytest.raises(Refusal, match=f"attempt 1.*kill {me.pid}"):
        close_open_attempts(job, print)
    assert list_attempts(job.stage_dir) == (living,)


def test_dead_supervisor_without_processes_is_closed(job: StageJob) -> None:
    """A pid that is used again by another process does not look alive."""
    reused = record(next_number(job.stage_dir), supervisor_pid=os.getpid(), supervisor_ticks=1)
    open_attempt(job.stage_dir, reused)
    said: list[str] = []
    close_open_attempts(job, said.append)
    assert list_attempts(job.stage_dir)[0].end == "lost"
    assert "died" in said[0]


def test_attempt_of_another_host_is_lost_once_the_lease_is_ours(job: StageJob) -> None:
    """Whoever settles holds the lease, so the attempt's supervisor is gone or fenced."""
    open_attempt(job.stage_dir, record(next_number(job.stage_dir), host="node7", place=Place(host="node7")))
    said: list[str] = []
    close_open_attempts(job, said.append)
    assert list_attempts(job.stage_dir)[0].end == "lost"
    assert "node7" in said[0]


@pytest.mark.process
def test_processes_that_a_dead_supervisor_left_are_ended_first(tmp_path: Path, templates: Path) -> None:
    """The supervisor SIGKILLed: its trainer lives on, and the relaunch ends it before it starts one."""
    boss = supervisor(tmp_path, templates, "many", stop_grace_s=0.3)
    attempt = eventually(lambda: list_attempts(toy_job(tmp_path, templates).stage_dir))[0]
    eventually(lambda: len(carrying(attempt.tag)) >= 6)
    boss.send_signal(signal.SIGKILL)
    boss.communicate()
    assert carrying(attempt.tag)
    relaunched = supervisor(tmp_path, templates, "good", stop_grace_s=0.3)
    _, errors = relaunched.communicate(timeout=60)
    assert relaunched.returncode == 0, errors
    assert "attempt 1 is lost" in errors
    assert not carrying(attempt.tag)
    ends = [attempt.end for attempt in list_attempts(toy_job(tmp_path, templates).stage_dir)]
    assert ends == ["lost", "done"]


@pytest.mark.process
def test_many_supervisors_at_once_start_one_trainer(tmp_path: Path, templates: Path) -> None:
    """Started together, one trains and the others refuse."""
    bosses = [supervisor(tmp_path, templates, "waits-in-epoch-2") for _ in range(4)]
    stage_dir = toy_job(tmp_path, templates).stage_dir
    try:
        eventually(lambda: sum(boss.poll() is not None for boss in bosses) == 3)
        assert sorted(boss.poll() or 0 for boss in bosses) == [0, 2, 2, 2]
        assert len(list_attempts(stage_dir)) == 1
    finally:
        for boss in bosses:
            boss.terminate()
            boss.communicate()


@pytest.mark.process
def test_new_start_after_a_lost_attempt_resumes(tmp_path: Path, templates: Path) -> None:
    """What a killed supervisor's trainer had saved is not trained again."""
    boss = supervisor(tmp_path, templates, "waits-in-epoch-2", stop_grace_s=0.3)
    eventually((toy_job(tmp_path, templates).work_dirs.current / "epoch_1.pth").exists)
    boss.kill()
    boss.communicate()
    relaunched = supervisor(tmp_path, templates, "good", stop_grace_s=0.3)
    relaunched.communicate(timeout=60)
    last = list_attempts(toy_job(tmp_path, templates).stage_dir)[-1]
    assert last.resumed_from is not None
    assert (last.end, last.resumed_from.epoch) == ("done", 1)
