"""MetricLogger JSON (log.txt)."""

from __future__ import annotations

import json
import math

import pytest

from support.metriclogger_logs import Training, write_metriclogger_json
from support.series import series
from trainrelay.analysis.readers import read


def log_of(tmp_path, *rows):
    path = tmp_path / "log.txt"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return read([path])


def row(epoch, loss=1.0, **values):
    return {"train_lr": 1e-4, "train_loss": loss, "epoch": epoch, **values}


def test_an_epoch_is_a_training_row_and_a_validation_row_and_there_are_no_iterations(tmp_path):
    log = read([write_metriclogger_json(tmp_path / "log.txt", epochs=2)])
    assert (log.format, log.epochs_only) == ("metriclogger-json", True)
    assert (log.iters_per_epoch, log.interval, log.segments) == (None, None, 1)
    assert [(r.phase, r.step, r.epoch, r.iteration) for r in log.rows] == [
        ("train", 1, 1, 0),
        ("val", 1, 1, 0),
        ("train", 2, 2, 0),
        ("val", 2, 2, 0),
    ]
    assert log.rows[0].values["loss"] == pytest.approx(Training(epochs=2).row(25)["loss"])
    assert log.rows[1].values["pck@0.1"] == pytest.approx(0.3935, abs=1e-4)
    assert log.setup == {"parameters": "1234567"}


def test_lists_become_a_metric_per_item_and_texts_are_left_out(tmp_path):
    log = log_of(
        tmp_path, row(0, test_coco_eval_bbox=[0.1, 0.2, "x"], now_time="12:00", ok=True, ema_test_loss=2.0)
    )
    assert log.rows[0].values == {"lr": 1e-4, "loss": 1.0}
    assert log.rows[1].values == {"coco_eval_bbox[0]": 0.1, "coco_eval_bbox[1]": 0.2, "ema_test_loss": 2.0}


def test_a_bare_nan_is_a_nan(tmp_path):
    log = log_of(tmp_path, '{"train_loss": NaN, "test_loss": Infinity, "epoch": 0}')
    assert math.isnan(log.rows[0].values["loss"])
    assert log.rows[1].values["loss"] == math.inf


def test_epochs_without_an_evaluation_have_no_validation_row(tmp_path):
    log = log_of(tmp_path, row(0), row(1, test_loss=3.0), row(2))
    assert [(r.phase, r.epoch) for r in log.rows] == [("train", 1), ("train", 2), ("val", 2), ("train", 3)]


def test_an_evaluation_alone_is_placed_at_its_epoch(tmp_path):
    log = log_of(tmp_path, {"test_loss": 3.0, "epoch": 4})
    assert [(r.phase, r.step, r.epoch) for r in log.rows] == [("val", 5, 5)]
    assert log.epochs_only


def test_training_and_evaluation_in_two_objects_are_one_epoch(tmp_path):
    log = log_of(tmp_path, row(0), {"test_loss": 3.0, "epoch": 0}, row(1), {"test_loss": 2.0, "epoch": 1})
    assert [(r.phase, r.epoch) for r in log.rows] == [("train", 1), ("val", 1), ("train", 2), ("val", 2)]
    assert log.segments == 1


def test_a_run_appended_to_another_wins(tmp_path):
    log = log_of(tmp_path, *[row(epoch, 9.0) for epoch in (0, 1)], *[row(epoch, 1.0) for epoch in (0, 1, 2)])
    assert (log.segments, log.redone_iterations) == (2, 2)
    assert series(log, "loss") == ([1, 2, 3], [1.0, 1.0, 1.0])


def test_a_resume_that_trained_an_epoch_again_wins_from_there_on(tmp_path):
    log = log_of(tmp_path, row(0, 9.0), row(1, 9.0), row(2, 9.0), row(1, 1.0), row(2, 1.0), row(3, 1.0))
    assert series(log, "loss") == ([1, 2, 3, 4], [9.0, 1.0, 1.0, 1.0])
    assert (log.segments, log.redone_iterations) == (2, 2)


def test_the_same_epoch_twice_in_one_place_only_was_trained_again(tmp_path):
    log = log_of(tmp_path, row(0), row(1, 9.0), row(1, 1.0), row(2))
    assert (log.segments, series(log, "loss")[1]) == (2, [1.0, 1.0, 1.0])


@pytest.mark.parametrize("copies", [2, 4])
def test_every_epoch_as_often_is_a_copy_per_rank(tmp_path, copies):
    log = log_of(tmp_path, *[row(epoch, 1.0 + rank) for epoch in range(3) for rank in range(copies)])
    assert (log.segments, series(log, "loss")) == (1, ([1, 2, 3], [1.0, 1.0, 1.0]))
    assert log.setup["ranks printing"] == str(copies)


def test_the_copies_of_the_last_epoch_may_be_missing(tmp_path):
    log = log_of(tmp_path, row(0), row(0), row(1), row(1), row(2))
    assert (log.segments, series(log, "loss")[0]) == (1, [1, 2, 3])


def test_ranks_that_resume_are_two_segments(tmp_path):
    log = log_of(tmp_path, *[row(epoch) for epoch in (0, 0, 1, 1, 1, 1, 2, 2)])
    assert (log.segments, log.redone_iterations, series(log, "loss")[0]) == (2, 1, [1, 2, 3])


@pytest.mark.parametrize(("numbers", "epochs"), [((0, 1), [1, 2]), ((1, 2), [1, 2]), ((2, 3), [3, 4])])
def test_epochs_count_from_one_however_the_file_counts(tmp_path, numbers, epochs):
    assert [r.epoch for r in log_of(tmp_path, *map(row, numbers)).rows] == epochs


@pytest.mark.parametrize(
    "broken",
    [
        '{"train_loss": 1.0, "epo',
        '{"train_loss": 1.0}',
        '{"train_loss": 1.0, "epoch": NaN}',
        '{"train_loss": 1.0, "epoch": 1e999}',
        '{"train_loss": 1.0, "epoch": -1}',
        '{"train_loss": 1.0, "epoch": true}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_a_line_that_is_no_epoch_is_skipped_and_counted(tmp_path, broken):
    log = log_of(tmp_path, row(0), broken)
    assert (len(log.rows), log.skipped_lines) == (1, 1)


def test_a_number_too_large_for_a_float_is_infinite(tmp_path):
    log = log_of(tmp_path, '{"train_loss": 1' + "0" * 400 + ', "epoch": 0}')
    assert log.rows[0].values["loss"] == math.inf


def test_other_json_is_not_taken_for_it(tmp_path):
    mmcv = '{"mode": "train", "epoch": 1, "iter": 10, "train_loss": 1.0}'
    assert log_of(tmp_path, mmcv).format == "mmcv-json"
    assert log_of(tmp_path, '{"epoch": 1, "loss": 1.0}').format == "rows"


def test_objects_that_name_no_epoch_are_one_epoch_each(tmp_path):
    log = log_of(tmp_path, *({"train_loss": 9.0 - i, "test_loss": 9.5 - i} for i in range(3)))
    assert [(row.phase, row.epoch, row.values["loss"]) for row in log.rows] == [
        (phase, i + 1, loss - i) for i in range(3) for phase, loss in (("train", 9.0), ("val", 9.5))
    ]


def test_lavis_quotes_its_numbers_and_writes_an_evaluation_by_itself(tmp_path):
    """Below the config, which is printed over many lines."""
    log = log_of(
        tmp_path,
        '{\n    "run": {\n        "lr": 1\n    }\n}',
        {"train_lr": "0.001", "train_loss": "3.465"},
        {"valid_loss": 3.1, "valid_best_epoch": 0},
        {"train_lr": "0.001", "train_loss": "3.306"},
    )
    assert [(row.phase, row.epoch, row.values["loss"]) for row in log.rows] == [
        ("train", 1, 3.465),
        ("val", 1, 3.1),
        ("train", 2, 3.306),
    ]
    assert log.skipped_lines == 0
