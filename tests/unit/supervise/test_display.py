"""What a person sees of a running training."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from trainrelay.supervise.display import Display, Speed, describe, duration
from trainrelay.trainers import StepSeen


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def shown(terminal: bool = False) -> tuple[Display, io.StringIO, Clock]:
    output, clock = io.StringIO(), Clock()
    console = Console(file=output, force_terminal=terminal, width=200)
    return Display(console, "uniad/stage1", 6, clock), output, clock


def step(epoch: int, iteration: int, loss: float = 50.0) -> StepSeen:
    return StepSeen(epoch, iteration, 100, loss, 200.0)


def test_plain_lines_are_few() -> None:
    """The first step, one after 30 s, the last of each epoch, and the last of all."""
    lines, output, clock = shown()
    for epoch in (1, 2):
        for iteration in range(10, 100, 10):
            lines.step(step(epoch, iteration))
            clock.now_s += 5
    lines.close()
    said = [line.split(", loss")[0] for line in output.getvalue().splitlines()]
    assert said == [
        f"uniad/stage1: epoch {epoch}/6, iteration {iteration}/100"
        for epoch, iteration in [(1, 10), (1, 70), (1, 90), (2, 70), (2, 90)]
    ]


def test_plain_line_says_everything_that_is_known() -> None:
    """Stage, epoch, iteration, loss, ETA and, from the second line on, the speed."""
    lines, output, clock = shown()
    lines.step(step(1, 10))
    clock.now_s += 40
    lines.step(step(1, 30))
    assert output.getvalue().splitlines() == [
        "uniad/stage1: epoch 1/6, iteration 10/100, loss 50, ETA 0:03:20",
        "uniad/stage1: epoch 1/6, iteration 30/100, loss 50, ETA 0:03:20, 0.50 it/s",
    ]


def test_text_from_outside_cannot_command_the_terminal() -> None:
    """Neither rich markup nor terminal escapes of a file name get through."""
    hostile = "[bold red]ckpt[/] \x1b]0;title\x07\x1b[2J{task.id} \x9b31m\nsecond line"
    for terminal in (False, True):
        view, output, _ = shown(terminal)
        before = len(output.getvalue())
        view.note(hostile)
        printed = output.getvalue()[before:]
        assert "[bold red]ckpt[/]" in printed
        assert "{task.id}" in printed
        for forbidden in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\nsecond"):
            assert forbidden not in printed
        view.close()


def test_terminal_that_went_away_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed or broken output ends no training."""
    # rich turns the file behind sys.stdout into /dev/null, which must not be the one that pytest reads.
    monkeypatch.setattr(sys, "stdout", (tmp_path / "stdout").open("w"))

    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    for terminal in (False, True):
        view = Display(Console(file=Broken(), force_terminal=terminal), "uniad/stage1", 6, Clock())
        view.step(step(1, 10))
        view.note("still here")
        view.close()


def test_unknown_parts_are_left_out_and_time_left_is_estimated() -> None:
    """No total, no loss, no ETA: only what is known is said; with a speed the rest of the time is."""
    assert describe(StepSeen(1, 5, None, None, None), 6, None) == "epoch 1/6, iteration 5"
    known = describe(StepSeen(6, 50, 100, None, None), 6, 0.5)
    assert known == "epoch 6/6, iteration 50/100, ETA 0:01:40, 0.50 it/s"


def test_durations_are_readable() -> None:
    """Days appear when there are some."""
    assert [duration(5), duration(3700), duration(2 * 86400 + 5 * 3600 + 46 * 60)] == [
        "0:00:05",
        "1:01:40",
        "2 d 05:46",
    ]


def test_a_bar_that_is_drawn_again_does_not_make_the_training_faster() -> None:
    """tqdm draws a state once as it moves and once more with its numbers."""
    now_s = 0.0
    speed = Speed(lambda: now_s)
    for iteration in range(1, 6):
        for later_s in (0.9, 0.1):
            now_s += later_s
            speed.step(StepSeen(1, iteration, 9, 1.0, None))
    assert speed.iterations_per_s == pytest.approx(1.0, rel=0.2)


def test_a_line_per_epoch_is_enough_for_a_speed() -> None:
    """Within an epoch it is better: what is between two epochs, an evaluation, is no part of it."""
    now_s = 0.0
    speed = Speed(lambda: now_s)
    for epoch in (1, 2, 3):
        now_s += 50.0
        speed.step(StepSeen(epoch, 100, 100, 1.0, None))
    assert speed.iterations_per_s == pytest.approx(2.0)
    now_s += 1000.0
    speed.step(StepSeen(4, 10, 100, 1.0, None))
    assert speed.iterations_per_s == pytest.approx(2.0)
    speed = Speed(lambda: now_s)
    for epoch in (1, 2):
        now_s += 50.0
        speed.step(StepSeen(epoch, 100, None, 1.0, None))
    assert speed.iterations_per_s is None
