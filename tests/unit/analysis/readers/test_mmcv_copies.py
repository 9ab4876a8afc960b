"""mmcv console logs in which each line stands twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from support.mmcv_logs import mmcv_text
from support.series import series
from trainrelay.analysis.readers import read

STARTED = datetime(2024, 5, 1, 12, tzinfo=UTC)


def log_of(tmp_path, text):
    path = tmp_path / "trainer.log"
    path.write_text(text)
    return read([path])


def doubled(text):
    return "".join(line + line for line in text.splitlines(keepends=True))


def in_turns(first, second):
    """Record by record, a record being a line with its lines without a time stamp."""
    return "".join(one + other for one, other in zip(records(first), records(second), strict=True))


def records(text):
    found = []
    for line in text.splitlines(keepends=True):
        if line.startswith("2024-"):
            found.append("")
        found[-1] += line
    return found


def without_sources(log):
    return (log.rows, log.markers, log.setup, log.config, log.segments, log.max_epochs, log.interval)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 2, "validation": True},
        {"epochs": 3, "resumed": 1},
        {"epochs": 2, "load_from": "ckpts/a.pth", "stop": (2, 10), "error": "RuntimeError: NCCL error"},
        {"epochs": 1, "stop": (1, 0), "error": "OSError: x"},
    ],
)
def test_a_log_of_which_each_line_stands_twice_reads_like_the_log(tmp_path, options):
    text = mmcv_text(**options)
    assert without_sources(log_of(tmp_path, doubled(text))) == without_sources(log_of(tmp_path, text))
    assert "ranks printing" not in log_of(tmp_path, doubled(text)).setup


def test_two_processes_that_print_into_one_file_are_no_restarts(tmp_path):
    options = {"epochs": 2, "load_from": "ckpts/a.pth"}
    first = mmcv_text(**options, started=STARTED, metrics={"loss": lambda step: 1.0})
    later = STARTED + timedelta(seconds=3)
    second = mmcv_text(**options, started=later, metrics={"loss": lambda step: 2.0})
    log = log_of(tmp_path, in_turns(first, second))
    assert (log.segments, log.redone_iterations) == (1, 0)
    assert series(log, "loss") == (list(range(10, 201, 10)), [1.0] * 20)
    assert [m.kind for m in log.markers] == ["loaded", "started", "saved", "saved"]


def test_two_starts_of_which_each_line_stands_twice_are_two_segments(tmp_path):
    text = mmcv_text(epochs=3, stop=(2, 40)) + mmcv_text(epochs=3, resumed=1)
    log = log_of(tmp_path, doubled(text))
    assert (log.segments, log.redone_iterations) == (2, 40)


@pytest.mark.parametrize(("pause_s", "error"), [(60, None), (2, "OSError: x")])
def test_a_start_that_crashed_at_once_and_one_that_followed_are_two_segments(tmp_path, pause_s, error):
    first = mmcv_text(epochs=1, stop=(1, 0), error=error, started=STARTED)
    again = STARTED + timedelta(seconds=4 * 20 + pause_s)
    log = log_of(tmp_path, first + mmcv_text(epochs=1, started=again))
    assert log.segments == 2


def test_a_start_that_logs_the_same_iteration_again_is_a_segment_of_its_own(tmp_path):
    first = mmcv_text(epochs=1, stop=(1, 10), started=STARTED)
    second = mmcv_text(epochs=1, started=STARTED + timedelta(hours=1))
    log = log_of(tmp_path, first + second)
    assert (log.segments, log.redone_iterations) == (2, 10)


def test_a_time_stamp_that_is_no_time_is_survived(tmp_path):
    text = mmcv_text(epochs=1)
    wrong = text.replace("2024-05-01", "2024-13-41")
    assert series(log_of(tmp_path, wrong), "loss") == series(log_of(tmp_path, text), "loss")
