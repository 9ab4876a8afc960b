"""Console logs of trainers that print progress bars and `Averaged stats:`, as the keypoint trainer does.

tqdm writes a state after a carriage return: when it begins, when its count moved, and at each new postfix.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.analysis.readers import read


def state(epoch, done, of, loss=None, name="Epoch {}"):
    shown = f", loss={loss:.4f}, lr=0.000100" if loss is not None else ""
    filled = "█" * (10 * done // of)
    percent = round(100 * done / of)
    return f"\r{name.format(epoch)}: {percent:3d}%|{filled:10}| {done}/{of} [00:01<00:02,  2.00it/s{shown}]"


def loss_of(epoch, done, of):
    return 10 / (1 + epoch * of + done)


def epoch_text(epoch, of=3, *, shows=True, closed=True, name="Epoch {}", until=None):
    """The head, the bar, the means, and an evaluation with a bar and means of its own."""
    until = of if until is None else until
    text = f"\nEpoch {epoch + 1}/2\n" + "-" * 80 + "\n" + state(epoch, 0, of, name=name)
    for done in range(1, until + 1):
        loss = loss_of(epoch, done, of) if shows else None
        text += state(epoch, done - 1, of, loss, name) + state(epoch, done, of, loss, name)
    if until < of:
        return text
    text += "\n" if closed else "\r" + " " * 90 + "\r"
    text += f"Averaged stats: lr: 0.000100  loss: 1.0000 ({2 - epoch:.4f})  loss_ce: 0.1000 (0.2000)\n"
    text += "".join(state(0, done, 4, name="Validation (Autoregressive)") for done in range(5))
    return text + "\nAveraged validation stats: loss: 9.0000 (9.0000)\n"


def log_of(tmp_path, text):
    path = tmp_path / "trainer.log"
    path.write_bytes(text.encode())
    return read([path])


def rows_of(log, phase):
    return [(row.epoch, row.iteration, row.values["loss"]) for row in log.rows if row.phase == phase]


@pytest.mark.parametrize("closed", [True, False])
def test_bars_and_averages_give_epochs_iterations_and_losses(tmp_path, closed):
    """Also where a bar wipes itself out at its end."""
    log = log_of(tmp_path, "".join(epoch_text(epoch, closed=closed) for epoch in (0, 1)))
    assert log.format == "metriclogger-text"
    losses = [
        (epoch + 1, done - 1, round(loss_of(epoch, done, 3), 4)) for epoch in (0, 1) for done in (1, 2, 3)
    ]
    assert rows_of(log, "train") == losses
    assert rows_of(log, "epoch") == [(1, 2, 2.0), (2, 2, 1.0)]
    assert rows_of(log, "val") == [(1, 2, 9.0), (2, 2, 9.0)]
    assert (log.iters_per_epoch, log.segments, log.skipped_lines) == (3, 1, 0)


def test_a_long_bar_gives_a_row_per_percent_and_the_last_one(tmp_path):
    log = log_of(tmp_path, "".join(epoch_text(epoch, 1234) for epoch in (0, 1)))
    train = rows_of(log, "train")
    assert 150 <= len(train) <= 204
    assert train[-1] == (2, 1233, round(loss_of(1, 1234, 1234), 4))
    assert log.rows[-1].step == 2468


def test_bars_without_numbers_tell_the_epoch_of_the_averages(tmp_path):
    log = log_of(tmp_path, "".join(epoch_text(epoch, shows=False) for epoch in (0, 1)))
    means = [(1, "train", 2.0), (1, "val", 9.0), (2, "train", 1.0), (2, "val", 9.0)]
    assert [(row.epoch, row.phase, row.values["loss"]) for row in log.rows] == means
    assert log.skipped_lines == 0


def test_bars_that_say_of_how_many_epochs_prove_that_they_count_from_one(tmp_path):
    text = "".join(epoch_text(epoch, name=f"Epoch {epoch + 1}/2") for epoch in (0, 1))
    log = log_of(tmp_path, text)
    assert [row.epoch for row in log.rows if row.phase == "epoch"] == [1, 2]
    assert log.max_epochs == 2


@pytest.mark.parametrize("name", ["Validation Epoch {}", "Downloading", "it"])
def test_other_bars_are_no_training(tmp_path, name):
    """Nor are bars that name no epoch."""
    log = log_of(tmp_path, "".join(epoch_text(epoch, name=name) for epoch in (0, 1)))
    assert log.rows == ()


def test_a_crash_inside_a_bar_is_an_error_and_the_resume_a_segment(tmp_path):
    """The traceback stands right behind the state at which it happened."""
    crash = 'Traceback (most recent call last):\n  File "main.py", line 1\nRuntimeError: CUDA error\n'
    text = epoch_text(0) + epoch_text(1, until=2) + crash + epoch_text(1)
    log = log_of(tmp_path, text)
    assert [marker.text for marker in log.markers if marker.kind == "error"] == ["RuntimeError: CUDA error"]
    assert log.segments == 2
    assert [place[:2] for place in rows_of(log, "train")] == [(e, i) for e in (1, 2) for i in (0, 1, 2)]


def test_ranks_that_each_print_a_bar_count_once(tmp_path):
    """Their states stand one after the other in one line."""
    states = epoch_text(0, 5).split("\r")
    text = "".join(f"\r{one}\r{one}" if one.startswith("Epoch 0:") else f"\r{one}" for one in states)
    assert [place[:2] for place in rows_of(log_of(tmp_path, text), "train")] == [(1, i) for i in range(5)]


def test_an_attempt_that_ended_before_its_first_averages_is_of_the_others_format(tmp_path):
    """Bars alone are of many trainers."""
    first = log_of(tmp_path, epoch_text(0) + epoch_text(1, until=2)).sources
    second = tmp_path / "second.log"
    second.write_text(epoch_text(1, until=1).partition("Averaged")[0])
    for order in ((first[0], second), (second, first[0])):
        assert read(list(map(Path, order))).format == "metriclogger-text"
