"""A running trainer followed by its log, on a clock that the test moves; the log is a real file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.attempts import an_attempt
from support.supervising import toy_job
from trainrelay.supervise import monitor
from trainrelay.supervise.hook import Hook
from trainrelay.supervise.monitor import TrainerMonitor
from trainrelay.supervise.telemetry import TelemetryReader
from trainrelay.system.tail import Tail
from trainrelay.trainers import TRAINERS, ScriptSettings, StepSeen, Trainer
from trainrelay.training.work_dirs import WorkDirs

TICK_S = 4.0
MINUTE_S = 60.0


class Shown:
    """Keeps what a display is given."""

    def __init__(self) -> None:
        self.steps: list[StepSeen] = []
        self.notes: list[str] = []

    def step(self, seen: StepSeen) -> None:
        self.steps.append(seen)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def close(self) -> None:
        """Nothing to close."""


class Followed:
    """A log that grows, and what its supervisor makes of it."""

    def __init__(self, folder: Path, kind: str | Trainer, fixed_s: float | None = None) -> None:
        self.log, self.work_dir = folder / "trainer.log", folder / "work dir"
        self.log.touch()
        self.work_dir.mkdir()
        self.now_s = 1e6
        self.shown, self.tail = Shown(), Tail(self.log)
        trainer = TRAINERS[kind] if isinstance(kind, str) else kind
        job = toy_job(
            folder, folder, trainer=trainer, hang_timeout_s=fixed_s, work_dirs=WorkDirs(self.work_dir)
        )
        hook = Hook(folder, 2)
        self.monitor = TrainerMonitor(job, an_attempt(1), self.shown, hook, TelemetryReader(folder, hook))

    def write(self, text: str) -> None:
        with self.log.open("a", newline="") as file:
            file.write(text)

    def wait(self, seconds: float) -> str | None:
        """The first hang while this time passes."""
        until_s = self.now_s + seconds
        while self.now_s < until_s and not self.monitor.hang:
            self.now_s += TICK_S
            self.monitor.look(self.tail)
        return self.monitor.hang

    def said(self, text: str, minutes: int) -> str | None:
        """The first hang while this is written each minute."""
        return next((hang for _ in range(minutes) if (hang := self._said(text))), None)

    def _said(self, text: str) -> str | None:
        self.write(text)
        return self.wait(MINUTE_S)

    def place(self) -> tuple[int, int] | None:
        step = self.monitor.last_step
        return (step.epoch, step.iteration) if step else None


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    yield from _followed(tmp_path, monkeypatch, "metriclogger")


@pytest.fixture
def mmcv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    yield from _followed(tmp_path, monkeypatch, "mmcv")


def _followed(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str | Trainer) -> Iterator[Followed]:
    one = Followed(folder, kind)
    monkeypatch.setattr(monitor, "time", SimpleNamespace(monotonic=lambda: one.now_s))
    yield one
    one.tail.close()


def mmcv_line(epoch: int, iteration: int, of: int = 60) -> str:
    return (
        f"2022-06-19 13:40:00,011 - mmdet - INFO - Epoch [{epoch}][{iteration}/{of}]\tlr: 1e-4, loss: 1.0\n"
    )


def bar(epoch: int, done: int, of: int = 100, loss: str = "1.5") -> str:
    filled, shown = "█" * (10 * done // of), f"[00:01<00:02,  1.20s/it, loss={loss}]"
    return f"\rEpoch {epoch}: {100 * done // of:3d}%|{filled:10}| {done}/{of} {shown}"


# --------------------------------------------------------------- lines that are not understood


def test_a_trainer_whose_lines_are_not_understood_is_not_hung_while_it_prints(followed: Followed) -> None:
    """For longer than the 2 h after which a trainer that only talks is ended; 30 min of silence end it."""
    assert followed.said("step 10 | ce 1.23\n", minutes=300) is None
    hang = followed.wait(60 * MINUTE_S)
    assert hang is not None
    assert hang.startswith("no progress for 30 min since")
    assert "since its last output or checkpoint (no line was understood)" in hang


def test_a_silent_trainer_that_writes_a_checkpoint_is_not_hung(followed: Followed) -> None:
    """A file that appears or grows counts; what lies there unchanged, or is no checkpoint, does not."""
    growing = followed.work_dir / "last.pth.tar"
    for size in range(1, 5):
        growing.write_bytes(b"x" * size)
        assert followed.wait(25 * MINUTE_S) is None
    (followed.work_dir / "events.out").write_bytes(b"x")
    assert followed.wait(25 * MINUTE_S) is not None


def test_checkpoints_of_earlier_attempts_are_no_sign_of_life(followed: Followed) -> None:
    (followed.work_dir / "checkpoint.pth").write_bytes(b"x")
    hang = followed.wait(40 * MINUTE_S)
    assert hang is not None
    assert hang.startswith("no progress for 30 min since the start;")


def test_once_a_line_was_understood_output_and_checkpoints_are_life_only_up_to_the_bound(
    mmcv: Followed,
) -> None:
    """What is hung may go on printing: ranks that wait in a collective do."""
    mmcv.write(mmcv_line(1, 10))
    (mmcv.work_dir / "epoch_1.pth").write_bytes(b"x")
    hang = mmcv.said("waiting for rank 3\n", minutes=300)
    assert hang is not None
    assert hang.startswith("no progress for 2 h since")


def test_a_fixed_limit_holds_where_no_line_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Followed(tmp_path, "metriclogger", fixed_s=600.0)
    monkeypatch.setattr(monitor, "time", SimpleNamespace(monotonic=lambda: one.now_s))
    hang = one.said("step 10 | ce 1.23\n", minutes=300)
    assert hang is not None
    assert hang.startswith("no progress for 10 min since")
    one.tail.close()


def test_after_five_minutes_it_is_said_once_that_progress_is_unknown(followed: Followed) -> None:
    """With three of the lines, printable and short."""
    followed.write("loading\n\n")
    for number in range(60):
        followed.write(f"step {number} \x1b]0;title\x07" + "x" * 500 + "\n")
        followed.wait(MINUTE_S)
        assert len(followed.shown.notes) == (number >= 5)
    (note,) = followed.shown.notes
    assert note.startswith("alive, progress unknown: ")
    assert "step 3 " in note
    assert "step 5 " in note
    assert note.isprintable()
    assert len(note) < 700


def test_start_up_banners_before_a_long_silence_are_no_five_minutes_of_output(followed: Followed) -> None:
    followed.write("loading\n")
    followed.wait(25 * MINUTE_S)
    assert followed.shown.notes == []


# ------------------------------------------------------------------------------ progress bars


def test_progress_inside_a_bar_that_ends_no_line_is_seen(followed: Followed) -> None:
    """One epoch is one line, which here takes 10 hours."""
    followed.write(bar(0, 0))
    for done in range(1, 101):
        followed.write(bar(0, done))
        assert followed.wait(6 * MINUTE_S) is None
        assert followed.place() == (1, done)
    assert len(followed.shown.steps) == 100


def test_a_bar_that_stops_is_a_hang(followed: Followed) -> None:
    for done in range(10):
        followed.write(bar(0, done))
        followed.wait(MINUTE_S)
    hang = followed.wait(1e5)
    assert hang is not None
    assert "since epoch 1, iteration 9" in hang


def test_one_state_of_a_bar_counts_once_however_often_it_is_shown(followed: Followed) -> None:
    """tqdm shows a new loss without a new count; NaN there once is no divergence."""
    for number in range(30):
        followed.write(bar(0, 5, loss="nan") + " " * number)
        followed.wait(TICK_S)
    assert followed.monitor.diverged is None
    assert followed.place() == (1, 5)
    for done in range(6, 12):
        followed.write(bar(0, done, loss="nan"))
        followed.wait(TICK_S)
    assert followed.monitor.diverged is not None


def test_a_line_that_is_half_written_is_not_read(followed: Followed) -> None:
    """Only what a carriage return began is the state of a bar."""
    followed.write("Epoch: [0]  [ 10/100]  eta: 0:08:13  loss: n")
    followed.wait(TICK_S)
    assert followed.place() is None
    followed.write("an (1.0)\n")
    followed.wait(TICK_S)
    assert followed.place() == (1, 11)


def test_the_error_behind_a_bar_is_kept(followed: Followed) -> None:
    """Python prints it where the bar stands; the states that come afterwards do not push it out."""
    followed.write(bar(0, 5) + "Traceback (most recent call last):\nKeyError: 'x'\n")
    followed.wait(TICK_S)
    for _ in range(5):
        followed.write(bar(0, 5))
        followed.wait(TICK_S)
    assert "KeyError: 'x'" in followed.monitor.recent.lines()


# -------------------------------------------------------------------- one false progress line


ABSURD = [(20, 6000, 6000), (1, 6000, 6000), (2, 6000, 6000), (1, 61, 60), (999999999, 1, 1)]


@pytest.mark.parametrize("absurd", ABSURD)
def test_one_absurd_line_blinds_nobody(mmcv: Followed, absurd: tuple[int, int, int]) -> None:
    """Real lines after it are progress, for hours; the record tells where the training is."""
    mmcv.write(mmcv_line(1, 1))
    mmcv.wait(MINUTE_S)
    mmcv.write(mmcv_line(*absurd))
    for epoch in (1, 2, 3):
        for iteration in range(3, 61):
            mmcv.write(mmcv_line(epoch, iteration))
            assert mmcv.wait(3 * MINUTE_S) is None
    assert mmcv.place() == (3, 60)


def test_an_absurd_last_line_is_not_where_the_training_ended(mmcv: Followed) -> None:
    mmcv.write(mmcv_line(1, 10) + mmcv_line(1, 20) + mmcv_line(20, 6000, 6000))
    mmcv.wait(TICK_S)
    assert mmcv.place() == (1, 20)


def test_a_training_that_begins_again_inside_the_attempt_is_followed(mmcv: Followed) -> None:
    """As torchrun's max_restarts makes it do."""
    mmcv.write("".join(mmcv_line(epoch, 60) for epoch in (1, 2, 3)))
    mmcv.wait(TICK_S)
    mmcv.write(mmcv_line(2, 10) + mmcv_line(2, 20))
    mmcv.wait(TICK_S)
    assert mmcv.place() == (2, 20)


def test_epochs_that_print_nothing_are_stepped_over(mmcv: Followed) -> None:
    """Where every other one is shorter than the log interval."""
    for epoch in range(1, 40, 2):
        mmcv.write(mmcv_line(epoch, 50))
        assert mmcv.wait(20 * MINUTE_S) is None
    assert mmcv.place() == (37, 50)  # the last one waits for the next


def test_copies_of_slower_ranks_are_no_progress(mmcv: Followed) -> None:
    """Rank 0 hangs behind iteration 30, rank 1 repeats what is known."""
    for iteration in (10, 20, 30):
        mmcv.write(mmcv_line(1, iteration) + mmcv_line(1, iteration - 10 or 10))
        mmcv.wait(MINUTE_S)
    assert mmcv.place() == (1, 30)
    hang = mmcv.said(mmcv_line(1, 20), minutes=100)
    assert hang is not None
    assert "iteration 30" in hang


# ------------------------------------------------------------------- a log that was taken away


def test_a_log_that_was_truncated_is_read_from_its_start(mmcv: Followed) -> None:
    """Its writer appends, so it goes on at the start; a shorter and a longer new content are both noticed."""
    mmcv.write("".join(mmcv_line(1, number) for number in range(10, 60, 10)))
    mmcv.wait(TICK_S)
    os.truncate(mmcv.log, 0)
    mmcv.write(mmcv_line(2, 10))
    mmcv.wait(TICK_S)
    assert mmcv.place() == (2, 10)
    os.truncate(mmcv.log, 0)
    mmcv.write("".join(mmcv_line(2, number) for number in range(20, 60)))
    mmcv.wait(TICK_S)
    assert mmcv.place() == (2, 59)


# --------------------------------------------------------------- steps that the ranks count


def counted(followed: Followed, steps: int) -> None:
    report = {"format": 1, "rank": 0, "host": "node1", "at_s": 1.8e9, "steps": steps, "batches": steps}
    report |= {
        "waiting": 0,
        "passes": 1,
        "iteration": steps,
        "iterations": 400,
        "step_s": 0.5,
        "data_s": 0.05,
    }
    folder = followed.log.parent / "hook"
    folder.mkdir(exist_ok=True)
    (folder / "telemetry-0.json").write_text(json.dumps({**report, "memory_bytes": 10**9}))


def test_a_trainer_that_is_not_understood_is_followed_by_its_steps(followed: Followed) -> None:
    """Not hung while they count up in silence, shown as progress, and hung once they stop."""
    for minute in range(60):
        counted(followed, minute * 5)
        assert followed.wait(MINUTE_S) is None
    last = followed.shown.steps[-1]
    assert (last.epoch, last.iteration, last.iters_per_epoch) == (1, 295, 400)
    followed.write("tick\n")
    followed.wait(MINUTE_S)
    assert any(
        note.startswith("alive (step ") and " data 10 %): no line of the trainer's" in note
        for note in followed.shown.notes
    )
    assert (followed.wait(40 * MINUTE_S) or "").startswith("no progress for 31 min since step 295; ")
    assert followed.monitor.last_step is None


def test_where_the_log_is_understood_it_is_what_is_shown(mmcv: Followed) -> None:
    """Steps are progress there, too."""
    mmcv.write(mmcv_line(1, 10) + mmcv_line(1, 20))
    for minute in range(60):
        counted(mmcv, minute * 5)
        assert mmcv.wait(MINUTE_S) is None
    assert mmcv.place() == (1, 20)
    assert {step.iters_per_epoch for step in mmcv.shown.steps} == {60}


# --------------------------------------------------------------- pace


def test_the_pace_has_no_start_up_in_it(mmcv: Followed) -> None:
    mmcv.wait(10 * MINUTE_S)
    mmcv.write(mmcv_line(1, 10))
    mmcv.wait(40)
    assert mmcv.monitor.s_per_iteration is None
    for epoch, iteration in ((1, 20), (1, 60), (2, 30)):
        mmcv.write(mmcv_line(epoch, iteration))
        mmcv.wait(40)
    assert mmcv.monitor.s_per_iteration == pytest.approx(120 / 80)


def test_lines_that_came_together_show_no_pace(mmcv: Followed) -> None:
    """As where a supervisor took over a trainer that has long begun."""
    mmcv.write(mmcv_line(1, 10) + mmcv_line(1, 20) + mmcv_line(1, 30))
    mmcv.wait(40)
    assert mmcv.monitor.s_per_iteration is None
    mmcv.write(mmcv_line(1, 50))
    mmcv.wait(4)
    assert mmcv.monitor.s_per_iteration == pytest.approx(40 / 20)


# ------------------------------------------------------------------- lines that the user describes


def test_a_pattern_that_takes_too_long_is_named_once_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = (r"(a|aa)+$(?P<epoch>\d)", r"round (?P<epoch>\d+), (?P<iter>\d+): (?P<loss>\S+)")
    script = TRAINERS["script"].of(ScriptSettings(command="{entry}", progress=patterns), "a.py")
    for one in _followed(tmp_path, monkeypatch, script):
        one.write(("a" * 300 + "b\n") * 20 + "round 0, 1: 0.5\n")
        one.wait(TICK_S)
        assert one.place() == (1, 1)
        one.write("round 0, 2: 0.5\n" + "a" * 300 + "b\n")
        one.wait(TICK_S)
        (note,) = one.shown.notes
        assert note.endswith("takes too long, and is left out: (a|aa)+$(?P<epoch>\\d)")


def test_rows_of_a_log_that_is_read_again_are_at_the_bars_before_them(tmp_path: Path) -> None:
    """By a supervisor that follows the trainer of one that died: they prove that it had resumed."""
    script = TRAINERS["script"].of(ScriptSettings(command="{launcher} {entry}"), "a.py", iters=60)
    followed = Followed(tmp_path, script)
    bars = "".join(f"\r{done:3}%|##| {done}/60 [00:02<00:09,  4.3it/s]" for done in (0, 41, 42))
    followed.write(f"{bars}\r            \r{{'loss': '4.3', 'epoch': '0.8'}}\n")
    followed.monitor.look(followed.tail)
    assert followed.place() == (1, 42)
