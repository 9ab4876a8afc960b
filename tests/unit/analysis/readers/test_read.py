"""The door of the log readers: what is refused, and how the files of one training become one table."""

from __future__ import annotations

import pytest

from support.metriclogger_logs import metriclogger_text, write_metriclogger_json, write_metriclogger_log
from support.mmcv_logs import mmcv_text, write_mmcv_json_log, write_mmcv_log
from support.series import series
from trainrelay.analysis.readers import read
from trainrelay.errors import LogError


def refusal(*paths):
    with pytest.raises(LogError) as caught:
        read(list(paths))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "not found"),
        (b"", "is empty"),
        (b"PK\x03\x04\x00\x00", "is a binary file"),
        (b"hello\n", "has no line of a known format"),
    ],
)
def test_what_is_no_log_is_refused_in_a_sentence_that_says_what_to_type(tmp_path, content, words):
    path = tmp_path / "the log.txt"
    if content is not None:
        path.write_bytes(content)
    message = refusal(path)
    assert str(path) in message
    assert words in message
    assert "mmcv text, mmcv JSON, mmengine text, mmengine JSON, MetricLogger text, Met" in message
    assert "trainrelay analyze" in message


def test_a_folder_is_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_no_log_at_all_is_refused():
    assert "no log was given" in refusal()


def test_logs_of_two_formats_are_refused(tmp_path):
    text, other = write_mmcv_log(tmp_path / "a"), write_mmcv_json_log(tmp_path / "b")
    assert "is mmcv JSON, but" in refusal(text, other)


def test_the_format_is_seen_in_the_content_not_in_the_name(tmp_path):
    assert read([write_mmcv_log(tmp_path / "x.json")]).format == "mmcv-text"
    assert read([write_mmcv_json_log(tmp_path / "x.log")]).format == "mmcv-json"
    assert read([write_metriclogger_log(tmp_path / "y.json")]).format == "metriclogger-text"
    assert read([write_metriclogger_json(tmp_path / "y.log")]).format == "metriclogger-json"


def test_a_line_of_another_format_does_not_settle_the_format(tmp_path):
    path = tmp_path / "console.log"
    path.write_text(mmcv_text(epochs=1).splitlines()[-1] + "\n" + metriclogger_text(epochs=1))
    assert read([path]).format == "metriclogger-text"


def test_an_attempt_that_said_nothing_is_allowed_beside_one_that_did(tmp_path):
    silent = tmp_path / "001.log"
    silent.write_text("")
    log = read([silent, write_mmcv_log(tmp_path / "002.log")])
    assert (len(log.rows), log.segments, log.sources) == (20, 1, (str(silent), str(tmp_path / "002.log")))


def test_after_a_resume_the_later_rows_win_and_the_redone_iterations_are_counted(tmp_path):
    first = write_mmcv_log(tmp_path / "1.log", epochs=3, stop=(2, 40), metrics={"loss": lambda step: 1.0})
    second = write_mmcv_log(tmp_path / "2.log", epochs=3, resumed=1, metrics={"loss": lambda step: 2.0})
    log = read([first, second])
    steps, losses = series(log, "loss")
    assert steps == list(range(10, 301, 10))
    assert losses == [1.0] * 10 + [2.0] * 20
    assert (log.segments, log.redone_iterations) == (2, 40)
    assert [(m.epoch, m.iteration, m.segment) for m in log.markers if m.kind == "resumed"] == [(1, 100, 1)]


def test_two_starts_in_one_file_are_two_segments(tmp_path):
    path = tmp_path / "console.log"
    path.write_text(mmcv_text(epochs=3, stop=(2, 40)) + mmcv_text(epochs=3, resumed=1))
    assert (read([path]).segments, read([path]).redone_iterations) == (2, 40)


def test_a_second_copy_of_the_same_run_is_not_counted_twice(tmp_path):
    first = write_mmcv_log(tmp_path / "mmcv.log", epochs=2)
    second = tmp_path / "console.log"
    second.write_text(
        "nohup: ignoring input\n" + first.read_text() + "Traceback (most recent call last):\nOSError: x\n"
    )
    log = read([first, second])
    assert (log.segments, log.redone_iterations, len(log.rows)) == (1, 0, 20)
    assert [m.text for m in log.markers if m.kind == "error"] == ["OSError: x"]


def test_a_start_from_zero_that_ended_early_is_no_ancestor_of_a_later_resume(tmp_path):
    first = write_mmcv_log(tmp_path / "1.log", epochs=3, stop=(2, 100), metrics={"loss": lambda step: 1.0})
    zero = write_mmcv_log(tmp_path / "2.log", epochs=3, stop=(1, 20), iters_per_epoch=100, warmup_iters=40)
    third = write_mmcv_log(tmp_path / "3.log", epochs=3, resumed=2, metrics={"loss": lambda step: 3.0})
    log = read([first, zero, third])
    assert series(log, "loss")[1] == [1.0] * 20 + [3.0] * 10
    assert (log.segments, log.redone_iterations) == (3, 20)


def test_a_training_that_starts_again_from_zero_leaves_only_its_own_rows(tmp_path):
    first = write_mmcv_log(tmp_path / "1.log", epochs=3, stop=(2, 100))
    zero = write_mmcv_log(tmp_path / "2.log", epochs=3, stop=(1, 20), warmup_iters=40)
    log = read([first, zero])
    assert {row.segment for row in log.rows} == {1}
    assert log.redone_iterations == 20


@pytest.mark.parametrize(
    ("text", "last", "starts"),
    [
        ("".join(f"Epoch: [{e}][{i}/9]\t Loss 0.5 MAE 0.6\n" for e in (0, 1) for i in (0, 4, 8)), (2, 9), 1),
        ("".join(f"step {i:5d} | loss: 2.5 | lr 1e-7\n" for i in (0, 10, 20, 30, 10, 20)), (1, 20), 2),
        ("".join(f"[GPU{g}] Epoch 1 | Iter {i} | Loss 0.5\n" for i in (1, 2, 3) for g in (0, 1)), (1, 3), 1),
        ("".join(f"Epoch {e}/3 loss 0.5\n" for e in (1, 2, 3, 1, 2)), (2, 0), 2),
    ],
)
def test_usual_lines_are_read_without_a_config(tmp_path, text, last, starts):
    path = tmp_path / "nohup.out"
    path.write_text("nohup: ignoring input\n" + text)
    log = read([path])
    assert (log.rows[-1].epoch, log.rows[-1].iteration) == last
    assert log.segments == starts
