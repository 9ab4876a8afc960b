"""Trainings behind words that keep the environment from the trainer, or give it its own process numbers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from support.probing import probe_request
from support.supervising import (
    Ranks,
    behind,
    carrying,
    eventually,
    killed_supervisor,
    log_text,
    once,
    supervisor,
    toy_job,
    trainers,
)
from trainrelay.preflight.interpreter import interpreter_check
from trainrelay.supervise.probe import probe_rung
from trainrelay.system.alive import Kin, find
from trainrelay.text import kept_secret
from trainrelay.trainers import RUNGS
from trainrelay.training.attempts import list_attempts

pytestmark = pytest.mark.process

CLEARED = ("env", "-i", f"PATH={os.defpath}")
# As root, or as one who may make a user namespace.
NAMESPACE = ("unshare", *(() if os.getuid() == 0 else ("-Ur",)), "--pid", "--fork", "--mount-proc")


@pytest.fixture(params=[pytest.param("cleared", marks=pytest.mark.long), "namespace"])
def prefix(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """An environment that is cleared, on this host or in another pid namespace."""
    if request.param == "cleared":
        return CLEARED
    if subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine makes no pid namespace for this user")
    return (*NAMESPACE, *CLEARED)


def test_a_killed_rank_is_seen_and_the_relaunch_resumes(
    tmp_path: Path, templates: Path, prefix: tuple[str, ...]
) -> None:
    """The hook is loaded, though nothing of our environment gets there; the record has the whole command."""
    jobs = [
        behind(toy_job(tmp_path, templates, habit, epochs=2, trainer=Ranks()), prefix)
        for habit in ("killed", "good")
    ]
    killed, again = [once(job, Console(file=io.StringIO())) for job in jobs]
    assert (killed.end, "rank 1" in (killed.reason or "")) == ("killed", True), killed.reason
    assert again.resumed_from is not None
    assert (again.end, again.resumed_from.epoch, again.hook) == ("done", 1, None), again.reason
    assert tuple(again.argv[: len(prefix) + 1]) == (*prefix, "env")


def test_a_stop_ends_every_process_of_it(tmp_path: Path, templates: Path, prefix: tuple[str, ...]) -> None:
    boss = supervisor(tmp_path, templates, "waits", epochs=2, kind="ranks", prefix=prefix)
    eventually(lambda: "Epoch [2]" in log_text(tmp_path))
    boss.send_signal(signal.SIGINT)
    output, errors = boss.communicate(timeout=60)
    said = json.loads(output)
    assert (said["end"], said["last_epoch"]) == ("interrupted", 2), errors
    assert not carrying(said["tag"])
    assert not trainers(tmp_path)


def test_what_a_killed_supervisor_left_is_found_by_its_tag_and_ended(
    tmp_path: Path, templates: Path, prefix: tuple[str, ...]
) -> None:
    """The list of its processes is gone, too, and what started them."""
    killed_supervisor(tmp_path, templates, "waits", epochs=2, prefix=prefix)
    job = behind(toy_job(tmp_path, templates, epochs=2), prefix)
    (first,) = list_attempts(job.stage_dir)
    (job.stage_dir / "attempts/001/processes.json").unlink()
    for one in find(Kin(first.tag)):
        if one.name == "unshare":  # the one process that has our environment
            os.kill(one.pid, signal.SIGKILL)
    assert [one for one in find(Kin(first.tag)) if one.name != "unshare"]
    again = once(job, Console(file=io.StringIO()))
    assert (again.end, not carrying(first.tag)) == ("done", True), again.reason


def test_a_trainer_whose_supervisor_died_is_followed(
    tmp_path: Path, templates: Path, prefix: tuple[str, ...]
) -> None:
    killed_supervisor(tmp_path, templates, "slow", epochs=6, prefix=prefix)
    adopts = supervisor(tmp_path, templates, "slow", epochs=6, prefix=prefix, launch=True, leased=True)
    output, errors = adopts.communicate(timeout=60)
    assert "following it" in errors
    assert log_text(tmp_path).count("Epoch [1][1/3]") == 1, output


def test_a_secret_is_no_word_of_a_command(tmp_path: Path, templates: Path) -> None:
    """Where the prefix keeps the environment the trainer has it, as without one."""
    job = behind(toy_job(tmp_path, templates, "tells-its-token"), ["env"])
    env = kept_secret({"HF_TOKEN": "hf-4712-toy", "NCCL_DEBUG": "WARN"})
    record = once(replace(job, request=replace(job.request, env=env)), Console(file=io.StringIO()))
    assert "401 for hf-4712-toy" in Path(record.log).read_text()
    assert "NCCL_DEBUG=WARN" in record.argv
    assert not [word for word in record.argv if "4712" in word or "HF_TOKEN" in word]


def test_the_probe_and_the_check_of_the_interpreter_run_behind_it(
    tmp_path: Path, prefix: tuple[str, ...]
) -> None:
    asked = replace(probe_request(tmp_path / "checkout"), prefix=prefix, interpreter=sys.executable)
    result = probe_rung(asked, RUNGS["gloo"], tmp_path / "log", deadline_s=120.0, stopped=lambda: False)
    assert result.outcome == "works", result
    found = interpreter_check(asked, Ranks(), 60.0)
    assert (found.kind, " ".join(prefix) in found.what) == ("ok", True), found


def test_a_prefix_that_is_not_there_is_named(tmp_path: Path, templates: Path) -> None:
    asked = replace(probe_request(tmp_path / "checkout"), prefix=("no-such-program", "exec"))
    found = interpreter_check(asked, Ranks(), 60.0)
    assert "the prefix no-such-program was not found; set trainer.prefix" in str(found)
