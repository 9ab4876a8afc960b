"""Nothing is done, and nothing starts, beside a trainer that lives, whoever started it."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from support.stage_on_disk import OnDisk
from support.supervising import TOY, Alone, eventually, toy_job, trainers
from trainrelay.errors import Refusal, UserError
from trainrelay.operations.train import train_stage
from trainrelay.records import Processes
from trainrelay.supervise import train
from trainrelay.supervise.decide import FINISH
from trainrelay.system.alive import TAG_VARIABLE, all_processes, here
from trainrelay.system.files import write_json
from trainrelay.training.context import StageContext

pytestmark = pytest.mark.process
SLEEPS = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


@contextmanager
def living(argv: list[str], cwd: Path, env: dict[str, str]) -> Iterator[int]:
    with subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_complete_training_is_not_done_while_something_of_it_lives(tmp_path: Path) -> None:
    """A rank that survived SIGKILL may still write the checkpoint that train.json names."""
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    disk.train()
    at = StageContext(disk.config(), "r", "s")
    write_json(
        disk.paths.folder / "attempts/001/processes.json", Processes(tag="a tag", place=here(), known=())
    )
    with living(SLEEPS, tmp_path, {TAG_VARIABLE: "a tag"}) as pid:
        with pytest.raises(Refusal, match=rf"still run here: .* run: kill {pid}"):
            train_stage(at)
        assert not disk.paths.train.exists()
    train_stage(at)
    assert disk.paths.train.exists()


def test_a_trainer_that_no_record_names_is_known_by_its_command_line(tmp_path: Path, templates: Path) -> None:
    """Double-forked, without our tag, its output elsewhere, its supervisor and launcher gone."""
    job = toy_job(tmp_path, templates)
    Path(job.request.work_dir).mkdir()
    words = [sys.executable, str(TOY), "--work-dir", job.request.work_dir, "--templates", str(templates)]
    log = tmp_path / "elsewhere.txt"
    twice = "import os, sys; os.fork() and os._exit(0); os.setsid(); os.execve(sys.argv[1], sys.argv[1:], {})"
    with log.open("wb") as output:
        argv = [sys.executable, "-c", twice, *words, "--habit", "waits"]
        subprocess.run(argv, cwd=tmp_path, stdout=output, check=True)
    eventually(lambda: "Epoch [1]" in log.read_text())
    (pid,) = trainers(tmp_path)
    try:
        with pytest.raises(Refusal, match=rf"still run here: .*\(pid {pid}\)"):
            train(job, Console(file=io.StringIO()), Alone())
        assert not (job.stage_dir / "attempts").exists()
    finally:
        os.kill(pid, 9)
    eventually(lambda: not trainers(tmp_path))
    assert train(job, Console(file=io.StringIO()), Alone()).decision == FINISH


@pytest.mark.parametrize("words", [["--eval"], ["--test-only", "--gpus", "1"]])
def test_an_evaluation_that_says_so_stops_no_start(tmp_path: Path, templates: Path, words: list[str]) -> None:
    job, said = toy_job(tmp_path, templates), io.StringIO()
    argv = [*SLEEPS, job.request.entry, *words, "--work-dir", job.request.work_dir]
    with living(argv, tmp_path, {}) as pid:
        assert train(job, Console(file=said, width=1000), Alone()).decision == FINISH
    assert said.getvalue().count(f"(pid {pid}) has the script and the work dir") == 1


@pytest.mark.parametrize("value", ["False", "data.json"])
def test_a_flag_with_a_value_tells_no_evaluation(tmp_path: Path, templates: Path, value: str) -> None:
    job = toy_job(tmp_path, templates)
    argv = [*SLEEPS, job.request.entry, "--eval", value, "--work-dir", job.request.work_dir]
    with living(argv, tmp_path, {}), pytest.raises(Refusal, match="still run here"):
        train(job, Console(file=io.StringIO()), Alone())


def test_a_flag_that_the_training_itself_has_tells_no_evaluation(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates)
    words = ["--habit", "good", "--epochs", "3", "--eval"]
    job = replace(job, request=replace(job.request, options={"words": words}))
    argv = [*SLEEPS, job.request.entry, "--eval", "--work-dir", job.request.work_dir]
    with living(argv, tmp_path, {}), pytest.raises(Refusal, match="still run here"):
        train(job, Console(file=io.StringIO()), Alone())


@pytest.mark.parametrize("ours", [False, True], ids=["other-words", "our-words"])
def test_what_began_within_a_launch_stops_it_only_if_it_may_be_a_trainer_of_ours(
    tmp_path: Path, templates: Path, ours: bool
) -> None:
    """An evaluation of yours that no flag tells stops no retry."""
    began, said = ExitStack(), io.StringIO()
    job = toy_job(tmp_path, templates)
    _, _, *words = job.trainer.launch(job.request, {}).argv
    argv = [*SLEEPS, *(words if ours else [*words[:3], "--mode=test"])]
    job = replace(job, leave_bad_nodes=lambda: began.enter_context(living(argv, tmp_path, {})) and None)
    with began:
        if ours:
            with pytest.raises(Refusal, match="still run here"):
                train(job, Console(file=said), Alone())
        else:
            assert train(job, Console(file=said, width=1000), Alone()).decision == FINISH
            assert "is taken for an evaluation" in said.getvalue()


def test_the_same_words_in_another_checkout_are_another_training(tmp_path: Path, templates: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    job = toy_job(tmp_path / "one", templates)
    argv = [*SLEEPS, job.request.entry, job.request.work_dir]
    with living(argv, tmp_path / "two", {}):
        assert train(job, Console(file=io.StringIO()), Alone()).decision == FINISH


@contextmanager
def few_files(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_where_too_few_files_may_be_open_no_training_starts(tmp_path: Path) -> None:
    disk = OnDisk(tmp_path)
    disk.make_checkout()
    with few_files(12), pytest.raises(UserError, match=r"12 files may be open .* run: ulimit -n 1024"):
        train_stage(StageContext(disk.config(), "r", "s"))


def test_processes_that_cannot_be_looked_at_are_not_taken_for_none(tmp_path: Path) -> None:
    with ExitStack() as opened, few_files(100):
        with suppress(OSError):
            while True:
                opened.enter_context((tmp_path / "x").open("w"))
        with pytest.raises(UserError, match="cannot see which processes run"):
            all_processes()
