"""A request to stop, over files: whom it stops, and what cannot."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from support.supervising import Alone, carrying, eventually, log_text, supervisor, toy_job
from trainrelay.errors import Interrupted
from trainrelay.supervise import train
from trainrelay.supervise.stop import StopOrderWatch, ask_to_stop, order_file, read_order, stop_requests
from trainrelay.training.attempts import list_attempts

OWNER, OTHER = "a" * 32, "b" * 32


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_request_stops_the_owner_that_it_names_and_is_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    asked = StopOrderWatch(tmp_path, OWNER, said.append, lambda: 0.0)
    ask_to_stop(tmp_path, OWNER)
    with stop_requests(asked) as stop:
        assert stop.requested
        assert stop.requested
        assert not stop.at_once
    assert len(said) == 1
    assert said[0].startswith("stop requested from ")


def test_a_stale_request_stops_no_later_launch(tmp_path: Path) -> None:
    ask_to_stop(tmp_path, OTHER)
    with stop_requests(StopOrderWatch(tmp_path, OWNER, lambda _: None)) as stop:
        assert not stop.requested


def test_the_folder_is_looked_into_once_per_second(tmp_path: Path) -> None:
    clock = Clock()
    asked = StopOrderWatch(tmp_path, OWNER, lambda _: None, clock)
    assert not asked()
    ask_to_stop(tmp_path, OWNER)
    clock.now_s = 0.9
    assert not asked()
    clock.now_s = 1.0
    assert asked()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    target = path.with_name("elsewhere")
    ask_to_stop(target.parent, OWNER)
    path.rename(target)
    path.symlink_to(target)


HOSTILE: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"\xff\x00{"),
    lambda path: path.write_text("[]"),
    lambda path: path.write_text('{"owner": ["a"], "host": "h", "at_s": 1}'),
    lambda path: path.write_text(f'{{"owner": "{OWNER}", "host": "\\u001b[2J", "at_s": 1}}'),
    lambda path: path.write_text(f'{{"owner": "{OWNER}", "host": "h", "at_s": 1e400}}'),
    lambda path: path.write_text("[" * 1_000_000),
    lambda path: path.mkdir(),
    pipe,
    link,
]


@pytest.mark.parametrize("damage", HOSTILE)
def test_what_is_not_a_sound_request_is_no_request(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    damage(order_file(tmp_path))
    assert read_order(tmp_path) is None
    assert not StopOrderWatch(tmp_path, OWNER, lambda _: None)()


def test_a_folder_that_is_not_there_is_no_request(tmp_path: Path) -> None:
    assert read_order(tmp_path / "gone") is None


def test_a_request_is_honoured_before_a_trainer_was_started(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates)
    job.supervision.mkdir(parents=True)
    ask_to_stop(job.supervision, Alone().owner)
    with pytest.raises(Interrupted, match="before the trainer was started"):
        train(job, Console(file=io.StringIO()), Alone())
    assert list_attempts(job.stage_dir) == ()


@pytest.mark.process
def test_a_running_launch_ends_resumably_like_by_one_sigterm(tmp_path: Path, templates: Path) -> None:
    job = toy_job(tmp_path, templates)
    job.supervision.mkdir(parents=True)
    boss = supervisor(tmp_path, templates, "waits-in-epoch-2", launch=True)
    eventually(lambda: "Epoch [2]" in log_text(tmp_path))
    (attempt,) = list_attempts(job.stage_dir)
    ask_to_stop(job.supervision, Alone().owner)
    _, said = boss.communicate(timeout=60)
    (ended,) = list_attempts(job.stage_dir)
    assert ended.end == "interrupted"
    assert not carrying(attempt.tag)
    assert "stop requested from" in said
