"""One trainer at a time, whatever became of its supervisor, environment, record and of its host's name."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from support.supervising import (
    Alone,
    carrying,
    cleared,
    eventually,
    killed_supervisor,
    log_text,
    supervisor,
    toy_job,
    trainers,
)
from trainrelay.errors import Refusal, UserError
from trainrelay.records import AttemptRecord
from trainrelay.supervise import StageJob, orphaned_attempt, train
from trainrelay.supervise.decide import FINISH
from trainrelay.training.attempts import list_attempts

pytestmark = pytest.mark.process


def launched(job: StageJob) -> tuple[AttemptRecord, list[str | None], str]:
    output = io.StringIO()
    outcome = train(job, Console(file=output, width=500), Alone())
    return outcome, [attempt.end for attempt in list_attempts(job.stage_dir)], output.getvalue()


@pytest.fixture(autouse=True)
def none_left(tmp_path: Path) -> Iterator[None]:
    """A test that fails leaves no trainer."""
    yield
    for pid in trainers(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def left_behind(folder: Path, templates: Path, habit: str, **changes: Any) -> int:
    """The trainer of a supervisor that was killed, its environment cleared."""
    killed_supervisor(folder, templates, habit, cleared=True, **changes)
    (pid,) = trainers(folder)
    (attempt,) = list_attempts(toy_job(folder, templates).stage_dir)
    assert not carrying(attempt.tag), "the environment was not cleared"
    return pid


# ---------------------------------------------------------------------- found again


def test_a_trainer_whose_environment_was_cleared_is_followed(tmp_path: Path, templates: Path) -> None:
    """From its first seconds on: the launcher is written down when it is started."""
    left_behind(tmp_path, templates, "slow", epochs=5)
    outcome, ends, said = launched(toy_job(tmp_path, templates, epochs=5))
    assert outcome.decision == FINISH
    assert ends == ["done"]
    assert "following it" in said
    assert log_text(tmp_path).count("Epoch [1][1/3]") == 1


def test_a_trainer_whose_environment_was_cleared_is_ended_by_a_stop(tmp_path: Path, templates: Path) -> None:
    boss = supervisor(tmp_path, templates, "waits", cleared=True)
    eventually(lambda: "Epoch [1]" in log_text(tmp_path))
    boss.send_signal(signal.SIGTERM)
    assert json.loads(boss.communicate(timeout=60)[0])["end"] == "interrupted"
    assert not trainers(tmp_path)


def test_a_renamed_host_is_the_same_host(
    tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(tmp_path, templates, "waits")
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    job = toy_job(tmp_path, templates)
    assert orphaned_attempt(job) == list_attempts(job.stage_dir)[0]


def test_what_was_seen_is_found_when_its_launcher_is_gone_too(tmp_path: Path, templates: Path) -> None:
    """A rank without our tag, without a supervisor and without the launcher that started it."""
    code = "import subprocess, sys; subprocess.run([*sys.argv[1:]], env={})"
    job = toy_job(tmp_path, templates)
    wrapper = Path(cleared(job).request.interpreter)
    wrapper.write_text(f'#!/bin/sh\nexec env -i "{sys.executable}" -c "{code}" "{sys.executable}" "$@"\n')
    boss = supervisor(tmp_path, templates, "waits", cleared=True, look_s=0.0)
    eventually(lambda: "Epoch [1]" in log_text(tmp_path))
    launcher, rank = sorted(trainers(tmp_path), key=lambda pid: psutil.Process(pid).create_time())
    file = job.stage_dir / "attempts/001/processes.json"
    eventually(lambda: rank in [pid for pid, _ in json.loads(file.read_text())["known"]])
    boss.kill()
    os.kill(launcher, signal.SIGKILL)
    boss.communicate()
    relaunch = supervisor(tmp_path, templates, "good", launch=True, stop_grace_s=0.5)
    assert relaunch.stderr is not None
    eventually(lambda: "following it" in relaunch.stderr.readline())  # type: ignore[union-attr]
    relaunch.send_signal(signal.SIGTERM)
    relaunch.communicate(timeout=60)
    assert not trainers(tmp_path)


def test_orphans_of_an_attempt_stay_with_its_supervisor_and_none_becomes_a_zombie(
    tmp_path: Path, templates: Path
) -> None:
    """Neither parent nor environment tells whose they are, but they become children of the supervisor."""
    boss = supervisor(tmp_path, templates, "leaves-bare-orphans", launch=True, look_s=0.1)
    eventually(lambda: "Epoch [2]" in log_text(tmp_path) and "deaf child up" in log_text(tmp_path))
    eventually(lambda: [state for _, state in children(boss.pid)] == [psutil.STATUS_SLEEPING] * 2)
    ours = [pid for pid, _ in children(boss.pid)]
    boss.send_signal(signal.SIGTERM)
    boss.communicate(timeout=60)
    assert not any(psutil.pid_exists(pid) for pid in ours)


def children(pid: int) -> list[tuple[int, str]]:
    """Pids and states: those of the trainer and of the orphan that lives, no zombie's."""
    return [(child.pid, child.status()) for child in psutil.Process(pid).children()]


# ---------------------------------------------------------------------- helpers of the trainer


def with_helpers(folder: Path, templates: Path) -> tuple[int, list[int]]:
    """The trainer of a supervisor that was killed, and what it started: a daemon and a fork of itself."""
    boss = supervisor(folder, templates, "brisk-with-helpers", launch=True)
    eventually(lambda: "deaf child up" in log_text(folder) and "Epoch [1]" in log_text(folder))
    boss.kill()
    boss.communicate()
    (attempt,) = list_attempts(toy_job(folder, templates).stage_dir)
    started = carrying(attempt.tag)
    (trainer,) = (pid for pid in started if psutil.Process(pid).ppid() not in started)
    return trainer, [pid for pid in started if pid != trainer]


def test_helpers_that_a_killed_trainer_left_are_ended_and_not_followed(
    tmp_path: Path, templates: Path
) -> None:
    trainer, helpers = with_helpers(tmp_path, templates)
    os.kill(trainer, signal.SIGKILL)
    assert len(helpers) == 2
    relaunch = supervisor(tmp_path, templates, "good", launch=True, stop_grace_s=0.1)
    assert json.loads(relaunch.communicate(timeout=60)[0])["end"] == "done"
    lost, done = list_attempts(toy_job(tmp_path, templates).stage_dir)
    assert (lost.end, done.end) == ("lost", "done")
    assert "2 processes that it left were ended" in (lost.reason or "")
    assert not carrying(lost.tag)


def test_a_trainer_that_is_followed_has_ended_when_only_its_helpers_live(
    tmp_path: Path, templates: Path
) -> None:
    with_helpers(tmp_path, templates)
    outcome, ends, said = launched(toy_job(tmp_path, templates, stop_grace_s=0.1))
    assert outcome.decision == FINISH
    assert ends == ["done"]
    assert "following it" in said
    assert not carrying(outcome.tag)


# ---------------------------------------------------------------------- records that are damaged or gone


def test_a_damaged_record_names_the_trainer_that_lives_before_its_advice(
    tmp_path: Path, templates: Path
) -> None:
    """Whoever follows the advice all the same starts no second trainer."""
    pid = left_behind(tmp_path, templates, "waits")
    job = toy_job(tmp_path, templates)
    record = job.stage_dir / "attempts/001/attempt.json"
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"but first: .*\(pid {pid}\).* run: kill {pid}\b"):
        launched(job)
    record.rename(record.with_suffix(".json.broken"))
    with pytest.raises(Refusal, match=rf"still run here: \S+ \(pid {pid}\).*kill {pid}\b"):
        launched(job)
    assert trainers(tmp_path) == [pid]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not trainers(tmp_path))
    assert launched(job)[0].decision == FINISH


# ---------------------------------------------------------------------- another pid namespace


def in_another_pid_namespace(folder: Path, templates: Path, **changes: Any) -> subprocess.Popen[str]:
    """A supervisor whose /proc shows nothing of this namespace; one that believes so if none can be made."""
    unshare = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
    argv = [*unshare, "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*argv, "true"], capture_output=True, check=False).returncode:
        return supervisor(folder, templates, "good", pid_namespace="pid:[1]", **changes)
    return supervisor(folder, templates, "good", argv, **changes)


def test_from_another_pid_namespace_no_second_trainer_is_started(tmp_path: Path, templates: Path) -> None:
    """The pids of the first one say nothing there, but the kernel knows that its log is still written."""
    pid = left_behind(tmp_path, templates, "waits", leased=True, beat_s=0.1)
    said, errors = in_another_pid_namespace(
        tmp_path, templates, launch=True, leased=True, beat_s=0.1
    ).communicate(timeout=60)
    answer = json.loads(said)
    assert (answer.get("error"), trainers(tmp_path)) == ("Refusal", [pid]), (answer, errors)
    assert "another container or pid namespace" in answer["message"]
    assert str(toy_job(tmp_path, templates).stage_dir / "attempts/001/trainer.log") in answer["message"]
    assert [one.end for one in list_attempts(toy_job(tmp_path, templates).stage_dir)] == [None]


# ---------------------------------------------------------------------- processes that do not end


FREEZER = Path("/sys/fs/cgroup/freezer")
CAN_FREEZE = FREEZER.is_dir() and os.access(FREEZER, os.W_OK)
KILLED: dict[str, Any] = {
    "launch": True,
    "unkillable_s": 0.1,
    "stop_grace_s": 0.1,
    "kills_nothing": not CAN_FREEZE,
}


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process in a frozen cgroup, which not even SIGKILL ends; where none can be made, nobody kills it."""
    if not CAN_FREEZE:
        yield
        return os.kill(pid, signal.SIGKILL)
    group = FREEZER / f"trainrelay-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    state = group / "freezer.state"
    try:
        (group / "cgroup.procs").write_text(str(pid))
        state.write_text("FROZEN")
        eventually(lambda: state.read_text().strip() == "FROZEN")
        yield
    finally:
        state.write_text("THAWED")
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
    return None


def test_no_attempt_follows_while_a_process_of_the_last_one_does_not_end(
    tmp_path: Path, templates: Path
) -> None:
    """The launch waits for it, a relaunch names it; once it has ended, the launch goes on by itself."""
    boss = supervisor(tmp_path, templates, "raises-beside-a-child", **KILLED)
    job = toy_job(tmp_path, templates)
    eventually(lambda: "Epoch [2]" in log_text(tmp_path) and "deaf child up" in log_text(tmp_path))
    (attempt,) = list_attempts(job.stage_dir)
    (launcher,) = trainers(tmp_path)
    (child,) = (pid for pid in carrying(attempt.tag) if pid != launcher)
    with frozen(child):
        (job.work_dirs.current / "go").touch()
        assert boss.stderr is not None
        eventually(lambda: f"(pid {child}) of an earlier attempt" in boss.stderr.readline())  # type: ignore[union-attr]
        said, errors = supervisor(tmp_path, templates, "good", **KILLED).communicate(timeout=60)
        answer = json.loads(said)
        assert answer.get("error") == "Refusal", (answer, errors)
        assert f"still run here: python (pid {child})" in answer["message"]
        assert [one.end for one in list_attempts(job.stage_dir)] == ["trainer-bug"]
    assert json.loads(boss.communicate(timeout=60)[0])["end"] == "done"


@pytest.mark.long
def test_what_does_not_end_within_the_patience_ends_the_launch_by_name(
    tmp_path: Path, templates: Path
) -> None:
    boss = supervisor(tmp_path, templates, "raises-beside-a-child", patience_s=0.1, **KILLED)
    eventually(lambda: "Epoch [2]" in log_text(tmp_path) and "deaf child up" in log_text(tmp_path))
    job = toy_job(tmp_path, templates)
    (child,) = set(carrying(list_attempts(job.stage_dir)[0].tag)) - set(trainers(tmp_path))
    with frozen(child):
        (job.work_dirs.current / "go").touch()
        answer = json.loads(boss.communicate(timeout=60)[0])
        assert answer.get("error") == "Refusal", answer
        assert f"still run here: python (pid {child})" in answer["message"]
        assert len(list_attempts(job.stage_dir)) == 1
