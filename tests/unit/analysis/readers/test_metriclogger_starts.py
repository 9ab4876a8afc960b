"""Console logs with more than one start, and with each line once per rank."""

from __future__ import annotations

import random

import pytest

from support.metriclogger_logs import in_chunks, interleaved, metriclogger_text
from support.series import series
from trainrelay.analysis.readers import read

EPOCHS = 4
PLACES = [(epoch, iteration) for epoch in range(1, EPOCHS + 1) for iteration in (0, 10, 20, 24)]


def log_of(tmp_path, text):
    path = tmp_path / "console.log"
    path.write_text(text)
    return read([path])


def ranks(count, **options):
    return [metriclogger_text(epochs=EPOCHS, rank=rank, **options) for rank in range(count)]


def jittered(texts, seed):
    """Line by line in an order of chance; no rank is more than a line ahead of another."""
    chance, split = random.Random(seed), [text.splitlines(keepends=True) for text in texts]
    out, left = [], [0] * len(split)
    while any(at < len(lines) for at, lines in zip(left, split, strict=True)):
        behind = min(left)
        rank = chance.choice([rank for rank, at in enumerate(left) if at <= behind and at < len(split[rank])])
        out.append(split[rank][left[rank]])
        left[rank] += 1
    return "".join(out)


def glued(texts, seed):
    """Ranks whose prints are two writes, the line and its end: `python -u`, as torchrun starts them."""
    chance, out = random.Random(seed), []
    for lines in zip(*(text.splitlines() for text in texts), strict=True):
        left = [[line, "\n"] for line in lines]
        while any(left):
            out.append(chance.choice([writes for writes in left if writes]).pop(0))
    return "".join(out)


def assert_complete(log, evaluated=EPOCHS):
    """Every line, mean and evaluation of the training is there once, and every value is a rank's."""
    assert [(row.epoch, row.iteration) for row in log.rows if row.phase == "train"] == PLACES
    assert [row.epoch for row in log.rows if row.phase == "epoch"] == [1, 2, 3, 4]
    assert [row.epoch for row in log.rows if row.phase == "val"] == [1, 2, 3, 4][:evaluated]
    assert [row.step for row in log.rows] == sorted(row.step for row in log.rows)
    assert log.skipped_lines == 0


def assert_values_of(log, texts, tmp_path):
    known = {}
    for text in texts:
        for row in log_of(tmp_path, text).rows:
            known.setdefault((row.phase, row.step), []).append(row.values)
    for row in log.rows:
        assert row.values in known[row.phase, row.step], (row.phase, row.epoch, row.iteration)


def test_two_runs_in_one_file_are_two_segments_and_the_later_one_wins(tmp_path):
    first = metriclogger_text(epochs=EPOCHS, metrics={"loss": lambda step: 9.0})
    second = metriclogger_text(epochs=EPOCHS, metrics={"loss": lambda step: 1.0})
    log = log_of(tmp_path, first + second)
    assert_complete(log)
    assert (log.segments, log.redone_iterations) == (2, 100)
    assert {row.segment for row in log.rows} == {1}
    assert set(series(log, "loss")[1]) == {1.0}
    assert "ranks printing" not in log.setup


# Without an introduction, nothing tells a resume right at an epoch's end from a training that goes on.
CRASHES = [(stop, True) for stop in ((3, 0), (3, 10), (3, 20), (2, 24))]
CRASHES += [(stop, False) for stop in ((3, 0), (3, 10), (3, 20))]


@pytest.mark.parametrize(("stop", "introduces"), CRASHES)
def test_a_crash_and_a_resume_are_two_segments(tmp_path, stop, introduces):
    crashed = metriclogger_text(
        epochs=EPOCHS, stop=stop, introduces=introduces, error="RuntimeError: NCCL error"
    )
    log = log_of(tmp_path, crashed + metriclogger_text(epochs=EPOCHS, resumed=2, introduces=introduces))
    redone = stop[1] + 1 if stop[0] == 3 else 0
    assert_complete(log)
    assert (log.segments, log.redone_iterations) == (2, redone)
    assert [(m.epoch, m.iteration, m.segment) for m in log.markers if m.kind == "resumed"] == [(2, 50, 1)]
    assert [(m.text, m.epoch, m.iteration, m.segment) for m in log.markers if m.kind == "error"] == [
        ("RuntimeError: NCCL error", *stop, 0)
    ]
    assert [row.segment for row in log.rows if row.phase == "train"] == [0] * 8 + [1] * 8


def test_a_crash_and_a_resume_in_two_files_are_two_segments(tmp_path):
    paths = []
    for name, options in (("1", {"stop": (3, 10)}), ("2", {"resumed": 2})):
        paths.append(tmp_path / name)
        paths[-1].write_text(metriclogger_text(epochs=EPOCHS, **options))
    log = read(paths)
    assert_complete(log)
    assert (log.segments, log.redone_iterations) == (2, 11)


def test_a_start_that_died_before_it_trained_is_a_segment_of_its_own(tmp_path):
    died = metriclogger_text(epochs=EPOCHS).partition("Epoch:")[0]
    text = died + "Traceback (most recent call last):\n  File x\nOSError: no data\n"
    log = log_of(tmp_path, text + metriclogger_text(epochs=EPOCHS))
    assert_complete(log)
    assert log.segments == 2
    assert [(m.kind, m.segment) for m in log.markers] == [("started", 0), ("error", 0), ("started", 1)]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("write", [lambda texts, _: interleaved(texts), jittered, glued])
@pytest.mark.parametrize("seed", range(3))
def test_lines_that_every_rank_prints_count_once(tmp_path, count, write, seed):
    texts = ranks(count)
    log = log_of(tmp_path, write(texts, seed))
    assert_complete(log)
    assert_values_of(log, texts, tmp_path)
    assert (log.segments, log.redone_iterations, log.setup["ranks printing"]) == (1, 0, str(count))
    assert {m.kind for m in log.markers} <= {"started"}  # glued, it may be in the middle of a line


# What ranks print through buffers tells of no evaluation which epoch it is of.
@pytest.mark.parametrize("lines", [2, 5, 11])
def test_blocks_of_lines_that_every_rank_prints_count_once(tmp_path, lines):
    texts = ranks(4, summary=False)
    log = log_of(tmp_path, interleaved(texts, lines))
    assert_complete(log, evaluated=0)
    assert (log.segments, log.redone_iterations, log.setup["ranks printing"]) == (1, 0, "4")


@pytest.mark.parametrize("size", [2000, 2500, 4096, 8192, 30_000])
def test_ranks_whose_buffers_cut_lines_count_once(tmp_path, size):
    log = log_of(tmp_path, in_chunks(ranks(2, summary=False), size))
    assert_complete(log, evaluated=0)
    assert (log.segments, log.redone_iterations, log.setup["ranks printing"]) == (1, 0, "2")


def test_whole_outputs_one_after_the_other_are_ranks_if_they_say_so(tmp_path):
    log = log_of(tmp_path, "".join(ranks(2)))
    assert_complete(log)
    assert log.segments == 1


WRITES = {
    "lines": interleaved,
    "glued": lambda texts: glued(texts, 0),
    "chunks": lambda texts: in_chunks(texts, 8192),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("stop", [(1, 10), (3, 20), (2, 24)])
def test_ranks_that_crash_and_resume_are_two_segments(tmp_path, stop, write):
    resumed = {"resumed": stop[0] - 1 or None} if stop != (2, 24) else {"resumed": 2}
    parts = [ranks(2, stop=stop, error="OSError: x", summary=False), ranks(2, summary=False, **resumed)]
    log = log_of(tmp_path, "".join(map(WRITES[write], parts)))
    assert_complete(log, evaluated=0 if write == "chunks" else EPOCHS)
    assert (log.segments, log.setup["ranks printing"]) == (2, "2")
    assert log.redone_iterations == (0 if stop == (2, 24) else stop[1] + 1)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3, 0.5, 0.77, 0.9])
def test_a_console_of_two_ranks_may_end_anywhere(tmp_path, share):
    text = interleaved(ranks(2))
    log = log_of(tmp_path, text[: int(len(text) * share)])
    found = [(row.epoch, row.iteration) for row in log.rows if row.phase == "train"]
    assert found == PLACES[: len(found)]
    assert log.segments == 1


def test_a_jump_back_inside_an_epoch_is_no_restart(tmp_path):
    lines = metriclogger_text(epochs=EPOCHS, summary=False).splitlines(keepends=True)
    again = [line for line in lines if line.startswith("Epoch: [1]  [10/")]
    last = next(at for at, line in enumerate(lines) if line.startswith("Epoch: [2]  [20/"))
    log = log_of(tmp_path, "".join([*lines[:last], *again, *lines[last:]]))
    assert_complete(log, evaluated=0)
    assert log.segments == 1
