"""mmcv JSON logs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import orjson

from support.mmcv_logs import write_mmcv_json_log
from trainrelay.analysis import analyze, to_json
from trainrelay.analysis.readers import read


def rows_of(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(epoch: int, iteration: int, **values: object) -> dict[str, object]:
    return {"mode": "train", "epoch": epoch, "iter": iteration, "lr": 1e-4, "loss": 1.0, **values}


def log_of(tmp_path: Path, text: str):
    path = tmp_path / "x.log.json"
    path.write_text(text)
    return read([path])


def test_rows_meta_and_facts_are_read(tmp_path):
    log = read([write_mmcv_json_log(tmp_path / "x.log.json", epochs=3)])
    assert log.format == "mmcv-json"
    assert len(log.rows) == 30
    assert (log.max_epochs, log.setup["torch"], log.config["optimizer.lr"]) == (3, "1.12.1", 2e-4)


def test_a_bare_nan_is_a_nan_and_strings_are_left_out(tmp_path):
    log = log_of(tmp_path, rows_of({}, row(1, 10, loss=math.nan, bbox_mAP_copypaste="0.3 0.5", ok=True)))
    assert math.isnan(log.rows[0].values["loss"])
    assert set(log.rows[0].values) == {"lr", "loss"}


def test_a_row_of_an_epoch_that_no_training_reaches_is_skipped(tmp_path):
    far = rows_of(row(10**20, 1), row(1, 10**400)).replace("1" + "0" * 400, "9" * 5000)
    log = log_of(tmp_path, rows_of({}, row(1, 10)) + far + rows_of(row(1, 20, loss=10**400)))
    assert [each.step for each in log.rows] == [10, 20]
    assert log.skipped_lines == 2
    assert json.loads(orjson.dumps(to_json(analyze(log), curves=True)))["progress"]["iteration"] == 20


def test_the_length_of_an_epoch_is_the_last_iteration_of_one_that_was_left(tmp_path):
    log = log_of(tmp_path, rows_of({}, row(1, 50), row(1, 100), row(2, 50)))
    assert log.iters_per_epoch == 100
    assert [r.step for r in log.rows] == [50, 100, 150]


def test_the_length_of_an_epoch_still_running_is_not_known(tmp_path):
    assert log_of(tmp_path, rows_of({}, row(1, 50), row(1, 100))).iters_per_epoch is None


def test_iterations_that_never_start_over_count_over_the_whole_run(tmp_path):
    log = log_of(tmp_path, rows_of({}, row(1, 50), row(2, 100), row(3, 150)))
    assert [r.step for r in log.rows] == [50, 100, 150]
    assert {r.epoch for r in log.rows} == {1}


def test_several_runs_in_one_file_are_segments_and_the_later_one_wins(tmp_path):
    first = [row(1, 50, loss=9.0), row(1, 100, loss=8.0), row(2, 50, loss=7.0)]
    second = [row(2, 50, loss=6.0), row(2, 100, loss=5.0)]
    log = log_of(tmp_path, rows_of({}, *first, {}, *second))
    assert log.segments == 2
    assert [r.values["loss"] for r in log.rows] == [9.0, 8.0, 6.0, 5.0]
    assert log.redone_iterations == 50


def test_a_broken_line_is_skipped_and_counted(tmp_path):
    log = log_of(tmp_path, rows_of({}, row(1, 50)) + '{"mode": "train", "epoch": 1, "it')
    assert (len(log.rows), log.skipped_lines) == (1, 1)


def test_hostile_json_is_survived(tmp_path):
    deep = "[" * 200_000 + "]" * 200_000
    huge = '{"mode": "train", "epoch": 1, "iter": 60, "loss": 1' + "0" * 400 + "}\n"
    log = log_of(tmp_path, rows_of(row(1, 50)) + deep + "\n" + huge + '["mode"]\n')
    assert [r.values["loss"] for r in log.rows] == [1.0, math.inf]


def test_an_evaluation_that_calls_itself_training_is_none(tmp_path):
    """As mmcv wrote it before 1.1.1: no loss and no time, but a metric."""
    said = {"mode": "train", "epoch": 1, "iter": 100, "lr": 0.02, "bbox_mAP": 0.166}
    log = log_of(tmp_path, rows_of({}, row(1, 50), row(1, 100), said))
    assert [(r.phase, r.step) for r in log.rows] == [("train", 50), ("train", 100), ("val", 100)]
