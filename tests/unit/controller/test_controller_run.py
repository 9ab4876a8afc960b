"""The controller over one Snakemake, with small programs in the place of Snakemake and of Slurm."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainrelay.controller import locks, run
from trainrelay.controller.job import comment_of
from trainrelay.controller.run import control
from trainrelay.errors import NoAnswer, Refusal, SlurmError, UserError
from trainrelay.slurm import QueueRow

pytestmark = pytest.mark.process

NAP = "import time; time.sleep(600)"
Watch = Callable[..., run._SnakemakeRun]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> Watch:
    """A watch over a Python program in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "_LAST_WORDS_S", 0.0)

    def make(code: str, *heard: signal.Signals) -> run._SnakemakeRun:
        child = subprocess.Popen([sys.executable, "-c", code])
        return run._SnakemakeRun(child, "7", list(heard), lambda _job: "8", said.append)

    return make


def test_it_ends_as_snakemake_does(watch: Watch) -> None:
    assert watch("raise SystemExit(0)").to_its_end() == 0
    assert watch("raise SystemExit(3)").to_its_end() == 3
    assert watch("import os; os.kill(os.getpid(), 9)").to_its_end() == 137


def test_at_its_limit_snakemake_is_dead_before_the_job_is_requeued(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    watching = watch(NAP, signal.SIGUSR2)
    asked: list[tuple[str, int | None]] = []
    monkeypatch.setattr(run, "requeue", lambda job: asked.append((job, watching.child.poll())))
    assert watching.to_its_end() == 1
    assert asked == [("7", -signal.SIGKILL)]
    assert "requeued, the trainings keep running" in said[0]


def test_where_it_cannot_be_requeued_a_new_job_goes_on(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def refused(_job: str) -> None:
        raise SlurmError("Requested operation is presently disabled")

    def away() -> list[QueueRow]:
        raise SlurmError("squeue: it would be asked for longer than KillWait leaves")

    monkeypatch.setattr(run, "requeue", refused)
    monkeypatch.setattr(run, "live_jobs", away)
    assert watch(NAP, signal.SIGUSR2).to_its_end() == 1
    assert said[0].endswith("(Requested operation is presently disabled); job 8 continues")


def test_a_new_job_whose_submission_was_not_answered_is_not_submitted_twice(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, said: list[str], tmp_path: Path
) -> None:
    def refused(_job: str) -> None:
        raise SlurmError("disabled")

    live = [QueueRow(job, "RUNNING", comment=comment_of(str(tmp_path))) for job in ("6", "7")]

    def lost(_job: str) -> str:
        live.append(QueueRow("9", "PENDING", "Dependency", comment=comment_of(str(tmp_path))))
        if len(live) > 3:
            return "10"
        raise NoAnswer("Socket timed out")

    monkeypatch.setattr(run, "_AGAIN_S", 0.01)
    monkeypatch.setattr(run, "requeue", refused)
    monkeypatch.setattr(run, "live_jobs", lambda: live)
    watching = watch(NAP, signal.SIGUSR2)
    watching.resubmit = lost
    assert watching.to_its_end() == 1
    assert len(live) == 3
    assert said[-1].endswith("(disabled); job 9 continues")


def test_a_slurm_that_is_away_at_the_limit_is_asked_again(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """Whether for a requeue or for a new job: without either nothing would continue."""
    answers = iter([NoAnswer("no answer"), NoAnswer("no answer"), None])
    again = iter([NoAnswer("sbatch: no answer"), "8"])

    def answer(found: object) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(run, "_AGAIN_S", 0.01)
    monkeypatch.setattr(run, "requeue", lambda _job: answer(next(answers)))
    assert watch(NAP, signal.SIGUSR2).to_its_end() == 1
    assert said == ["no answer; asking again"] * 2 + [said[2]]
    assert "requeued" in said[2]
    monkeypatch.setattr(run, "requeue", lambda _job: answer(SlurmError("disabled")))
    monkeypatch.setattr(run, "live_jobs", list)
    watching = watch(NAP, signal.SIGUSR2)
    watching.resubmit = lambda _job: str(answer(next(again)))
    assert watching.to_its_end() == 1
    assert said[-1].endswith("(disabled); job 8 continues")


def test_a_cancelled_job_tells_snakemake_once_and_waits_for_it(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "own_job", lambda *_: QueueRow("7", "COMPLETING"))
    monkeypatch.setattr(run, "setting", lambda *_: "proctrack/cgroup")
    code = (
        "import signal, time; heard = []; signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "open('ready', 'w').close()\n"
        "while not heard: time.sleep(0.05)\n"
        "time.sleep(1); raise SystemExit(len(heard))"
    )
    watching = watch(code)
    while not (tmp_path / "ready").exists():
        pass
    watching.heard.append(signal.SIGTERM)
    assert watching.to_its_end() == 1


def test_where_scancel_reaches_snakemake_itself_it_is_not_told_twice(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "own_job", lambda *_: QueueRow("7", "COMPLETING"))
    monkeypatch.setattr(run, "setting", lambda *_: "proctrack/linuxproc")
    assert watch("import time; time.sleep(1)", signal.SIGTERM).to_its_end() == 0


def test_a_slurm_that_does_not_answer_ends_no_training(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    def silent(*_: object) -> QueueRow:
        raise SlurmError("squeue gave no answer within 10 s")

    monkeypatch.setattr(run, "own_job", silent)
    watching = watch(NAP, signal.SIGTERM)
    assert watching.to_its_end() == 1
    assert watching.child.poll() == -signal.SIGKILL
    assert said == ["squeue gave no answer within 10 s; the trainings keep running", said[1]]


def test_the_lock_is_noted_while_it_is_held_and_forgotten_with_it(watch: Watch, tmp_path: Path) -> None:
    code = (
        "import time, os; os.makedirs('.snakemake/locks'); open('.snakemake/locks/0.lock', 'w').close()\n"
        "time.sleep(2); {}"
    )
    assert watch(code.format("os.unlink('.snakemake/locks/0.lock')")).to_its_end() == 0
    note = tmp_path / ".snakemake/trainrelay/controller.json"
    assert not note.exists()
    (tmp_path / ".snakemake/locks").rmdir()
    assert watch(code.format("os.kill(os.getpid(), 9)")).to_its_end() == 137
    assert note.exists()
    assert locks.lock_state("8", []) == "stale"


def test_it_runs_only_as_a_job_and_only_where_no_older_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        with pytest.raises(UserError, match="run: trainrelay submit"):
            control([], lambda _job: "8", said.append)
        monkeypatch.setenv("SLURM_JOB_ID", "10")
        monkeypatch.setattr(
            run, "live_jobs", lambda: [QueueRow("9", "PENDING", "BeginTime", "", comment_of(str(tmp_path)))]
        )
        with pytest.raises(Refusal, match="job 9 runs the workflow in this folder already"):
            control([], lambda _job: "8", said.append)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
