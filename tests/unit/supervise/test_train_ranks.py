"""Whole attempts with real ranks of torch.distributed over gloo."""

from __future__ import annotations

import io
import json
import signal
import socket
from pathlib import Path

import pytest
from rich.console import Console

from support.supervising import Counted, Ranks, carrying, eventually, log_text, once, supervisor, toy_job
from trainrelay.supervise import monitor
from trainrelay.supervise.hangs import HangDetector
from trainrelay.supervise.telemetry import newest_telemetry
from trainrelay.system.alive import Kin, find
from trainrelay.training.attempts import list_attempts

pytestmark = pytest.mark.process


def test_killed_rank_is_seen_and_the_relaunch_finishes(tmp_path: Path, templates: Path) -> None:
    """One rank SIGKILLed is the class killed, not communication; the next attempt resumes and is done."""
    job = toy_job(tmp_path, templates, "killed", epochs=2, trainer=Ranks())
    killed = once(job, Console(file=io.StringIO()))
    assert (killed.end, "rank 1" in (killed.reason or "")) == ("killed", True), killed.reason
    assert killed.exit_status == 1
    again = once(toy_job(tmp_path, templates, epochs=2, trainer=Ranks()), Console(file=io.StringIO()))
    assert again.resumed_from is not None
    assert (again.end, again.resumed_from.epoch) == ("done", 1), again.reason


def test_ranks_without_a_supervisor_are_ended_and_a_stop_leaves_none(tmp_path: Path, templates: Path) -> None:
    """A relaunch ends the launcher and ranks of a killed supervisor; stopped itself, it leaves nothing."""
    boss = supervisor(tmp_path, templates, "waits", epochs=2, kind="ranks")
    eventually(lambda: "Epoch [2]" in log_text(tmp_path))
    boss.kill()
    boss.communicate()
    (first,) = list_attempts(toy_job(tmp_path, templates).stage_dir)
    assert len(find(Kin(first.tag))) >= 3
    relaunch = supervisor(tmp_path, templates, "waits", epochs=2, kind="ranks")
    eventually(lambda: "resumed epoch 1" in log_text(tmp_path) and log_text(tmp_path).count("Epoch [2]") == 2)
    assert not carrying(first.tag)
    relaunch.send_signal(signal.SIGTERM)
    output, errors = relaunch.communicate(timeout=60)
    said = json.loads(output)
    assert (said["end"], said["last_epoch"]) == ("interrupted", 2), errors
    assert not carrying(said["tag"])


@pytest.mark.parametrize(
    ("habit", "last_word", "said"),
    [
        (
            "freezes",
            "rank 0 has batch 5",
            "rank 1 on {host} is at step 3, rank 0 on {host} at step 4",
        ),
        pytest.param(
            "starves",
            "rank 0 has batch 4",
            "rank 1 on {host} is at step 3 (waiting for a batch), rank 0 on {host} at step 3",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_hang_names_the_rank_that_is_behind(
    tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch, habit: str, last_word: str, said: str
) -> None:
    """Though it is stopped and cannot report, and no line of the trainer is understood."""

    class Waited(HangDetector):
        def hung(self, now_s: float) -> str | None:
            log = log_text(tmp_path)
            return "no progress" if "rank 1 hangs" in log and last_word in log else None

    monkeypatch.setattr(monitor, "HangDetector", Waited)
    job = toy_job(tmp_path, templates, habit, trainer=Counted())
    hung = once(job, Console(file=io.StringIO()))
    assert hung.end == "hang"
    assert f"no progress; {said.format(host=socket.gethostname())}; on host" in (hung.reason or "")
    kept = newest_telemetry(Path(hung.log).parent)
    assert kept is not None
    assert {one.rank for one in kept.ranks} == {0, 1}
