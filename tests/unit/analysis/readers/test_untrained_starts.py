"""Starts of a MetricLogger trainer that died before the first iteration, and errors around introductions."""

from __future__ import annotations

import pytest

from support.metriclogger_logs import interleaved, metriclogger_text
from support.mmcv_logs import mmcv_text
from trainrelay.analysis.readers import read

EPOCHS = 3
RANKS = [f"| distributed init (rank {rank}): env://" for rank in range(2)]
ARGUMENTS = "Namespace(epochs=3, resume='', world_size=2, dist_backend='gloo')"
ALONE = "Namespace(epochs=3, resume='', world_size=1)"
ERROR = 'Traceback (most recent call last):\n  File "main.py", line 3\nRuntimeError: no NCCL'
LATER = ERROR.replace("no NCCL", "CUDA out of memory")
TRAINED = "Start training"
COMPLETE = metriclogger_text(epochs=1)


def text_of(*parts):
    return "".join(f"{part}\n" for part in parts)


def log_of(tmp_path, *files):
    paths = []
    for number, text in enumerate(files):
        paths.append(tmp_path / f"{number}.log")
        paths[-1].write_text(text)
    return read(paths)


def errors(log):
    return [(marker.text, marker.segment) for marker in log.markers if marker.kind == "error"]


CRASHES = [
    (*RANKS, ARGUMENTS, TRAINED, ERROR, ERROR),
    (RANKS[0], ERROR, RANKS[1], ERROR),
    (RANKS[1], ERROR, RANKS[0], ARGUMENTS, TRAINED, ERROR),
    (*RANKS, ERROR, ARGUMENTS, TRAINED),
    (*RANKS, ARGUMENTS, ERROR, ARGUMENTS, TRAINED, TRAINED),
    (RANKS[0], ARGUMENTS, TRAINED, ERROR, RANKS[1], ARGUMENTS, TRAINED, ERROR),
    (ARGUMENTS, RANKS[0], ERROR, ARGUMENTS, RANKS[1], ERROR),
    (ERROR, *RANKS, ARGUMENTS, ERROR, TRAINED),
    (ERROR, ERROR, RANKS[0], ARGUMENTS),
    (ARGUMENTS, ERROR, ARGUMENTS, TRAINED, TRAINED),
    (RANKS[0], RANKS[0], ERROR, ARGUMENTS, ARGUMENTS),
]


@pytest.mark.parametrize("parts", CRASHES)
def test_ranks_that_introduce_themselves_around_a_traceback_are_one_start(tmp_path, parts):
    log = log_of(tmp_path, text_of(*parts), COMPLETE)
    assert (log.segments, errors(log)) == (2, [("RuntimeError: no NCCL", 0)])
    assert {row.segment for row in log.rows} == {1}


@pytest.mark.parametrize("parts", CRASHES)
def test_a_file_that_crashed_is_one_start_beside_two_that_trained(tmp_path, parts):
    killed = interleaved([metriclogger_text(epochs=EPOCHS, stop=(2, 10), rank=rank) for rank in range(2)])
    resumed = interleaved([metriclogger_text(epochs=EPOCHS, resumed=1, rank=rank) for rank in range(2)])
    log = log_of(tmp_path, text_of(*parts), killed, resumed)
    assert (log.segments, log.redone_iterations) == (3, 11)
    assert errors(log) == [("RuntimeError: no NCCL", 0)]
    assert [m.segment for m in log.markers if m.kind == "resumed"] == [2]


@pytest.mark.parametrize(
    "parts",
    [
        (*RANKS, ARGUMENTS, ERROR, *RANKS, ARGUMENTS, TRAINED),
        (RANKS[0], ERROR, RANKS[1], ERROR, RANKS[1], RANKS[0], ERROR),
        (RANKS[0], ERROR, RANKS[1], RANKS[0], ARGUMENTS, TRAINED),
        (ALONE, TRAINED, ERROR, ALONE, TRAINED),
        (ARGUMENTS, ARGUMENTS, ERROR, ARGUMENTS, TRAINED, ARGUMENTS),
        (TRAINED, ERROR, TRAINED),
        ("Not using distributed mode", ALONE, ERROR, "Not using distributed mode", ALONE, TRAINED),
        (ERROR, *RANKS, ERROR, *RANKS, TRAINED),
    ],
)
def test_words_that_each_rank_says_once_prove_a_second_start_when_they_come_again(tmp_path, parts):
    log = log_of(tmp_path, text_of(*parts), COMPLETE)
    assert log.segments == 3
    assert errors(log)[0] == ("RuntimeError: no NCCL", 0)
    assert {row.segment for row in log.rows} == {2}


def test_a_rank_that_shows_up_after_the_crash_of_another_one_is_no_restart(tmp_path):
    crashed = metriclogger_text(epochs=EPOCHS, stop=(1, 0), error="OSError: x")
    log = log_of(tmp_path, crashed + text_of(RANKS[1], ARGUMENTS, TRAINED, ERROR))
    assert (log.segments, len(log.rows)) == (1, 1)


def test_a_start_that_died_after_one_that_trained_is_a_segment_of_its_own(tmp_path):
    crashed = metriclogger_text(epochs=EPOCHS, stop=(1, 0), error="OSError: x")
    log = log_of(tmp_path, crashed + text_of(RANKS[1], RANKS[0], ERROR, RANKS[1], RANKS[0], ERROR))
    assert log.segments == 3
    assert errors(log) == [("OSError: x", 0), ("RuntimeError: no NCCL", 1), ("RuntimeError: no NCCL", 2)]


def test_an_error_that_a_start_survived_does_not_hide_the_one_that_ended_it(tmp_path):
    trained = metriclogger_text(epochs=EPOCHS, stop=(1, 10), error="OSError: the disk is full")
    log = log_of(tmp_path, text_of(RANKS[1], ERROR) + trained)
    assert log.segments == 1
    assert errors(log) == [("RuntimeError: no NCCL", 0), ("OSError: the disk is full", 0)]


@pytest.mark.parametrize("trained", [COMPLETE, mmcv_text(epochs=1)], ids=["metriclogger", "mmcv"])
def test_an_error_before_the_introduction_of_a_start_that_trained_was_an_earlier_one(tmp_path, trained):
    log = log_of(tmp_path, text_of(ERROR) + trained)
    assert (log.segments, errors(log)) == (2, [("RuntimeError: no NCCL", 0)])
    assert {row.segment for row in log.rows} == {1}


def test_the_first_of_two_errors_before_training_is_the_one_that_counts(tmp_path):
    log = log_of(tmp_path, text_of(*RANKS, ERROR, LATER, ARGUMENTS))
    assert errors(log) == [("RuntimeError: no NCCL", 0)]


def test_a_world_size_that_is_no_number_of_ranks_is_left_out(tmp_path):
    log = log_of(tmp_path, text_of("Namespace(epochs=3, world_size=True)", ERROR, ALONE, TRAINED), COMPLETE)
    assert log.segments == 3

    only = log_of(tmp_path, text_of("Namespace(epochs=3, world_size=True)"), text_of(RANKS[1]))
    assert only.setup["ranks"] == "2"


def test_endless_crashes_before_training_are_survived(tmp_path):
    log = log_of(tmp_path, text_of(*RANKS, ERROR) * 3_000 + metriclogger_text(epochs=1))
    assert (log.segments, {row.epoch for row in log.rows}) == (3_001, {1})
