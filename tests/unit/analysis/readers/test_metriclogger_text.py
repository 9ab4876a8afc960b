"""MetricLogger console logs: rows, phases, epochs, steps, set-up, and what gets between them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from support.metriclogger_logs import Training, metriclogger_text, write_metriclogger_log
from support.series import metrics_of, series
from trainrelay.analysis.readers import read

LINE = (
    "Epoch: [{}]  [{:2d}/25]  eta: 0:00:08  lr: 0.000100  loss: {:.4f} (9.0000)  time: 0.3410  data: 0.0766\n"
)


def log_of(tmp_path: Path, text: str):
    path = tmp_path / "trainer.log"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return read([path])


def rows_of(log, phase):
    return [row for row in log.rows if row.phase == phase]


def test_a_line_becomes_a_row_with_the_first_number_of_each_metric(tmp_path):
    log = log_of(
        tmp_path,
        "Epoch: [0]  [  10/1458]  eta: 1 day, 0:08:13  lr: 0.000100  grad_norm: 13.63"
        "  loss: 10.0258 (11.4481)  pck@0.1: 0.5000 (0.4000)  time: 0.3410  data: 0.0766  max mem: 3887\n",
    )
    row = log.rows[0]
    assert log.format == "metriclogger-text"
    assert (row.step, row.epoch, row.iteration, row.phase) == (11, 1, 10, "train")
    assert row.values == {
        "lr": 0.0001,
        "grad_norm": 13.63,
        "loss": 10.0258,
        "pck@0.1": 0.5,
        "time": 0.341,
        "data_time": 0.0766,
        "memory": 3887,
    }


def test_a_clean_run_has_medians_means_and_evaluations_at_their_places(tmp_path):
    log = read([write_metriclogger_log(tmp_path / "a.log", epochs=2)])
    assert [(r.phase, r.epoch, r.iteration, r.step) for r in log.rows] == [
        *[("train", 1, i, i + 1) for i in (0, 10, 20, 24)],
        ("epoch", 1, 24, 25),
        ("val", 1, 24, 25),
        *[("train", 2, i, 25 + i + 1) for i in (0, 10, 20, 24)],
        ("epoch", 2, 24, 50),
        ("val", 2, 24, 50),
    ]
    assert (log.iters_per_epoch, log.max_epochs, log.interval, log.segments) == (25, 2, 10, 1)
    assert not log.epochs_only


def test_medians_means_and_evaluations_are_kept_apart(tmp_path):
    training = Training(epochs=2)
    log = read([write_metriclogger_log(tmp_path / "a.log", epochs=2)])
    assert rows_of(log, "train")[3].values["loss"] == pytest.approx(training.row(25)["loss"], abs=1e-4)
    assert rows_of(log, "epoch")[0].values["loss"] == pytest.approx(2 * training.row(25)["loss"], abs=1e-4)
    assert rows_of(log, "val")[0].values["loss"] == pytest.approx(training.evaluated(1)["loss"], abs=1e-4)
    assert rows_of(log, "val")[0].values["pck@0.1"] == pytest.approx(0.3935)
    assert "pck@0.1" not in metrics_of(log, "train") + metrics_of(log, "epoch")
    assert "time" not in metrics_of(log, "val")


def test_a_last_value_is_no_mean_beside_means_but_counts_where_nothing_else_is_printed(tmp_path):
    line, averaged = LINE.format(0, 24, 9.0), "Averaged stats: lr: 0.000100  loss: 9.0000{}\n"
    for mean, values in ((" (8.0000)", {"loss": 8.0}), ("", {"lr": 1e-4, "loss": 9.0})):
        log = log_of(tmp_path, line + averaged.format(mean))
        assert [row.values for row in rows_of(log, "epoch")] == [values]


def test_without_averaged_stats_the_means_come_from_the_last_line_of_each_block(tmp_path):
    text = metriclogger_text(epochs=1, averaged=False, summary=False)
    log = log_of(tmp_path, text)
    mean = 1.25 * Training(epochs=1).row(25)["loss"]
    assert [row.values["loss"] for row in rows_of(log, "epoch")] == [pytest.approx(mean, abs=1e-4)]
    assert len(rows_of(log, "val")) == 1
    assert "lr" not in rows_of(log, "epoch")[0].values


def test_a_block_that_was_cut_before_its_end_has_no_mean(tmp_path):
    text = metriclogger_text(epochs=1, summary=False)
    log = log_of(tmp_path, text[: text.index("Test:  [11/12]")])
    assert [row.phase for row in log.rows] == ["train"] * 4 + ["epoch"]


def test_an_evaluation_of_the_initial_weights_is_left_out(tmp_path):
    text = metriclogger_text(epochs=1, summary=False)
    test = text[text.index("Test:") : text.index("Training time")]
    log = log_of(tmp_path, test + text)
    assert [(row.phase, row.epoch) for row in log.rows if row.phase != "train"] == [("epoch", 1), ("val", 1)]


@pytest.mark.parametrize(("left", "evaluated"), [("Test:  [ 0/12]  eta: 0:08:13  ", [1, 2]), ("", [2])])
def test_the_means_of_an_evaluation_whose_first_line_was_lost_are_none_of_the_epoch(
    tmp_path, left, evaluated
):
    """Where nothing is left of the line, they may be of any epoch."""
    text = metriclogger_text(epochs=2, summary=False).replace("lr: 0.000100  ", "")
    training, _, rest = text.partition("Test:  [ 0/12]  eta: 0:08:13  ")
    log = log_of(tmp_path, training.rpartition("Averaged stats: ")[0] + left + "\0" + rest)
    mean = 1.25 * Training(epochs=2).row(25)["loss"]
    assert rows_of(log, "epoch")[0].values["loss"] == pytest.approx(mean, abs=1e-4)
    assert [row.epoch for row in rows_of(log, "val")] == evaluated


def test_two_evaluations_after_one_epoch_are_two_rows(tmp_path):
    text = metriclogger_text(epochs=1, summary=False)
    test = text[text.index("Test:") : text.index("Training time")]
    log = log_of(tmp_path, text.replace(test, test + test))
    assert len(rows_of(log, "val")) == 2


def test_an_evaluation_inside_an_epoch_ends_neither_the_epoch_nor_the_training(tmp_path):
    text = metriclogger_text(epochs=1, summary=False)
    test = text[text.index("Test:") : text.index("Training time")]
    log = log_of(tmp_path, text.replace("Epoch: [0]  [20/25]", test + "Epoch: [0]  [20/25]"))
    assert [row.iteration for row in rows_of(log, "train")] == [0, 10, 20, 24]
    assert len(rows_of(log, "epoch")) == 1
    assert len(rows_of(log, "val")) == 2


@pytest.mark.parametrize("header", ["Test: [0]", "Val:", "val:", "Test: EMA", "Evaluation:"])
def test_other_headers_of_evaluations_are_no_training(tmp_path, header):
    log = log_of(tmp_path, metriclogger_text(epochs=1).replace("Test:  ", f"{header}  "))
    assert (len(rows_of(log, "train")), len(rows_of(log, "val"))) == (4, 1)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [1, 2, 3]),
        ({"first_header": 1}, [1, 2, 3]),
        ({"first_header": 1, "summary": False}, [1, 2, 3]),  # a header [3] of three epochs
        ({"resumed": 1}, [2, 3]),
        ({"resumed": 1, "summary": False}, [2, 3]),
        ({"resumed": 1, "first_header": 1}, [2, 3]),
    ],
)
def test_epochs_count_from_one_however_headers_count(tmp_path, options, epochs):
    log = log_of(tmp_path, metriclogger_text(epochs=3, **options))
    for phase in ("train", "epoch", "val"):
        assert list(dict.fromkeys(row.epoch for row in rows_of(log, phase))) == epochs
    assert log.rows[0].step == (epochs[0] - 1) * 25 + 1


def test_headers_without_any_proof_count_from_zero(tmp_path):
    assert log_of(tmp_path, LINE.format(1, 0, 9.0)).rows[0].epoch == 2


def test_one_file_proves_how_the_others_count(tmp_path):
    first = write_metriclogger_log(tmp_path / "1.log", epochs=4, first_header=1, stop=(3, 10))
    second = write_metriclogger_log(tmp_path / "2.log", epochs=4, first_header=1, resumed=2, stop=(3, 20))
    log = read([first, second])
    assert [(row.epoch, row.segment) for row in rows_of(log, "train")][-3:] == [(3, 1)] * 3
    assert [(m.epoch, m.iteration) for m in log.markers if m.kind == "resumed"] == [(2, 50)]


def test_tabs_prefixes_escapes_and_broken_bytes_change_nothing(tmp_path):
    plain = log_of(tmp_path, metriclogger_text(epochs=2))
    text = metriclogger_text(epochs=2, delimiter="\t").replace("loss: ", "\x1b[1mloss\x1b[0m: ")
    lines = [f"[default0]:{line}" for line in text.splitlines(keepends=True)]
    log = log_of(tmp_path, "\udcff noise\n  50%|###  | 5/10\r" + "".join(lines))
    assert log.rows == plain.rows
    assert log.config == plain.config


def test_a_time_stamp_before_a_line_is_no_part_of_it(tmp_path):
    log = log_of(tmp_path, "2024-05-01 12:00:00,123 INFO: " + LINE.format(0, 0, 9.0))
    assert (log.rows[0].epoch, log.rows[0].values["loss"]) == (1, 9.0)


def test_nan_and_inf_are_values(tmp_path):
    text = LINE.format(0, 0, 9.0).replace("9.0000 (9.0000)", "nan (inf)") + LINE.format(0, 24, 9.0).replace(
        "9.0000 (9.0000)", "inf (nan)"
    )
    log = log_of(tmp_path, text)
    assert math.isnan(log.rows[0].values["loss"])
    assert log.rows[1].values["loss"] == math.inf
    assert math.isnan(rows_of(log, "epoch")[0].values["loss"])


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_a_file_cut_in_mid_line_has_no_wrong_value(tmp_path, cut):
    whole = LINE.format(0, 0, 9.0) + LINE.format(0, 10, 8.0)
    log = log_of(tmp_path, (whole + LINE.format(0, 20, 7.0))[:-cut])
    rows = {row.iteration: row.values for row in log.rows}
    assert set(rows) - {20} == {0, 10}
    assert rows.get(20, {"loss": 7.0}).items() <= {**rows[10], "loss": 7.0}.items()
    assert log.skipped_lines == (20 not in rows and cut < 100)


def test_a_last_line_without_its_line_end_counts(tmp_path):
    text = (LINE.format(0, 0, 9.0) + LINE.format(0, 10, 8.0)).rstrip("\n")
    assert [row.iteration for row in log_of(tmp_path, text).rows] == [0, 10]


def test_two_lines_glued_into_one_are_two(tmp_path):
    text = LINE.format(0, 0, 9.0) + LINE.format(0, 10, 8.0).rstrip("\n") + LINE.format(0, 20, 7.0)
    torn = LINE.format(0, 24, 6.0)[:60] + LINE.format(1, 0, 5.0)
    log = log_of(tmp_path, text + torn)
    assert [(row.epoch, row.iteration, row.values["loss"]) for row in rows_of(log, "train")] == [
        (1, 0, 9.0),
        (1, 10, 8.0),
        (1, 20, 7.0),
        (2, 0, 5.0),
    ]
    assert log.skipped_lines == 1


def test_set_up_and_arguments_come_from_what_the_trainer_prints(tmp_path):
    log = log_of(tmp_path, metriclogger_text(epochs=6))
    assert log.setup == {
        "ranks": "2",
        "backend": "gloo",
        "parameters": "1234567",
        "training time": "0:04:18",
    }
    assert log.max_epochs == 6
    assert (log.config["cls_loss_coef"], log.config["coords_loss_coef"], log.config["lr"]) == (2, 5, 1e-4)
    assert log.config["note"] == "a, b = (c"
    assert "dataset" not in log.config
    assert [(m.kind, m.text) for m in log.markers] == [("started", "Start training")]


def test_a_loss_that_is_not_finite_is_an_error(tmp_path):
    log = log_of(
        tmp_path, LINE.format(0, 0, 9.0) + "Loss is nan, stopping training\n{'loss_ce': tensor(nan)}\n"
    )
    assert [(m.kind, m.text, m.epoch, m.iteration) for m in log.markers] == [
        ("error", "Loss is nan, stopping training", 1, 0)
    ]


def test_a_summary_adds_only_what_the_rows_do_not_have(tmp_path):
    text = metriclogger_text(epochs=1)
    extra = "  Train Loss: 99.0\n    - Coords Loss: 0.2107\n  Val PCK@0.2: 0.7\n"
    log = log_of(tmp_path, text.replace("Epoch 1 Summary:\n", "Epoch 1 Summary:\n" + extra))
    plain = log_of(tmp_path, text)
    epoch, val = rows_of(log, "epoch")[0].values, rows_of(log, "val")[0].values
    assert epoch == {**rows_of(plain, "epoch")[0].values, "coords_loss": 0.2107}
    assert val == {**rows_of(plain, "val")[0].values, "pck@0.2": 0.7}


def test_summaries_stand_in_for_means_that_were_not_printed(tmp_path):
    text = LINE.format(0, 0, 9.0) + "Epoch 1 Summary:\n  Train Loss: 8.5\n  Val Loss: 7.5\nnoise: 3.0\n"
    log = log_of(tmp_path, text)
    assert [(row.phase, row.step, dict(row.values)) for row in log.rows[1:]] == [
        ("epoch", 25, {"loss": 8.5}),
        ("val", 25, {"loss": 7.5}),
    ]


def test_a_log_of_summaries_only_knows_epochs_and_no_iterations(tmp_path):
    log = log_of(
        tmp_path,
        "Epoch 1:  Train Loss: 66.23  Val Loss: 37.53\nEpoch 2:  Train Loss: 45.12  Val Loss: 32.41\n",
    )
    assert log.epochs_only
    assert (log.iters_per_epoch, log.interval) == (None, None)
    assert [(row.phase, row.step, row.epoch, row.iteration, dict(row.values)) for row in log.rows] == [
        ("train", 1, 1, 0, {"loss": 66.23}),
        ("val", 1, 1, 0, {"loss": 37.53}),
        ("train", 2, 2, 0, {"loss": 45.12}),
        ("val", 2, 2, 0, {"loss": 32.41}),
    ]


def test_summaries_that_begin_again_are_another_run(tmp_path):
    lines = [
        f"Epoch {epoch}: Train Loss: {loss}\n" for epoch, loss in ((1, 9), (2, 8), (1, 7), (2, 6), (3, 5))
    ]
    log = log_of(tmp_path, "".join(lines))
    assert (log.segments, series(log, "loss")) == (2, ([1, 2, 3], [7, 6, 5]))


def test_summaries_add_what_the_lines_do_not_have(tmp_path):
    text = (
        "".join(f"Epoch: [1]  [  {at}/2882]  eta: 3:50:41  lr: 0.000100\n" for at in (0, 10, 20))
        + "Epoch 1:  Train Loss: 66.23  Val Loss: 37.53\nEpoch 2:  Train Loss: 45.12  Val Loss: 32.41\n...\n"
    )
    log = log_of(tmp_path, text)
    assert [(row.phase, row.epoch, dict(row.values)) for row in log.rows] == [
        *[("train", 1, {"lr": 1e-4})] * 3,
        ("epoch", 1, {"loss": 66.23}),
        ("val", 1, {"loss": 37.53}),
        ("epoch", 2, {"loss": 45.12}),
        ("val", 2, {"loss": 32.41}),
    ]
    assert log.iters_per_epoch == 2882


def test_a_trainer_that_died_before_it_trained_is_still_known(tmp_path):
    error = "Traceback (most recent call last):\n  File x\nOSError: no data\n"
    log = log_of(tmp_path, "| distributed init (rank 0): env://\n" + error)
    assert (log.format, log.rows) == ("metriclogger-text", ())
    assert [(m.kind, m.text) for m in log.markers] == [("error", "OSError: no data")]
