"""A start from zero drops everything before it; a resume keeps what it resumed from."""

from __future__ import annotations

import json

import pytest

from support.metriclogger_logs import metriclogger_text, write_metriclogger_json
from support.mmcv_logs import mmcv_text, write_mmcv_log
from trainrelay.analysis import analyze
from trainrelay.analysis.readers import read


def row(epoch: int, iteration: int, loss: float) -> str:
    return json.dumps({"mode": "train", "epoch": epoch, "iter": iteration, "lr": 1e-4, "loss": loss}) + "\n"


def val(epoch: int, iteration: int, **values: float) -> str:
    return json.dumps({"mode": "val", "epoch": epoch, "iter": iteration, **values}) + "\n"


META = json.dumps({"env_info": "PyTorch: 1.12.1", "exp_name": "x.py"}) + "\n"


def run(epochs: int, every: int, length: int, loss: float, first: int = 1) -> str:
    return "".join(
        row(epoch, iteration, round(loss / epoch, 5))
        for epoch in range(first, epochs + 1)
        for iteration in range(every, length + 1, every)
    )


def log_of(tmp_path, *texts: str):
    path = tmp_path / "None.log.json"
    path.write_text("".join(texts))
    return read([path])


def places(log):
    return [(seen.epoch, seen.iteration) for seen in log.rows if seen.phase == "train"]


@pytest.mark.parametrize("meta", ["", META])
def test_a_run_with_another_interval_in_the_same_file_leaves_no_row_of_the_one_before(tmp_path, meta):
    falling = "".join(row(epoch, 100, 0.53 - 0.022 * epoch) for epoch in range(1, 13))
    log = log_of(tmp_path, meta, run(1, 10, 100, 0.02), meta, falling)
    assert places(log) == [(epoch, 100) for epoch in range(1, 13)]
    assert (log.segments, log.superseded, log.redone_iterations) == (2, 1, 0)
    analysis = analyze(log)
    assert not [finding for finding in analysis.findings if finding.blocking or finding.severity != "info"]
    told = next(finding for finding in analysis.findings if finding.check == "resume")
    assert told.message.startswith("1 earlier run is superseded")


def test_the_length_of_an_epoch_and_the_interval_are_those_of_the_run_that_is_left(tmp_path):
    log = log_of(tmp_path, run(3, 10, 250, 0.02), val(3, 256, mAP=0.9), run(4, 20, 100, 0.5))
    assert (log.iters_per_epoch, log.interval) == (100, 20)
    assert [seen.step for seen in log.rows] == list(range(20, 401, 20))


def test_many_runs_in_one_file_are_counted_and_the_last_one_is_judged(tmp_path):
    runs = [run(12, 10, 120, 0.001), run(1, 10, 100, 0.07), run(12, 100, 200, 0.4), run(12, 100, 200, 0.5)]
    log = log_of(tmp_path, *runs)
    assert (log.segments, log.superseded, {seen.segment for seen in log.rows}) == (4, 3, {3})
    assert analyze(log).verdict.kind == "healthy"


def test_a_training_that_was_cut_off_and_began_again_stays_a_warning(tmp_path):
    log = log_of(tmp_path, META, run(2, 10, 100, 0.5), row(3, 10, 0.3), META, run(4, 10, 100, 0.6))
    assert (log.superseded, log.redone_iterations, len(log.rows)) == (1, 210, 40)
    assert next(f for f in analyze(log).findings if f.check == "resume").severity == "warning"


@pytest.mark.parametrize("meta", ["", META])
def test_a_resume_keeps_the_epochs_before_it_whatever_the_intervals(tmp_path, meta):
    resumed = "".join(row(epoch, 100, 0.1) for epoch in (3, 4))
    log = log_of(tmp_path, meta, run(2, 10, 100, 0.5), row(3, 10, 9.0), row(3, 20, 9.0), row(3, 100, 9.0))
    assert log.superseded == 0
    log = log_of(tmp_path, meta, run(3, 10, 100, 0.5), meta, resumed)
    assert places(log) == [*((e, i) for e in (1, 2) for i in range(10, 101, 10)), (3, 100), (4, 100)]
    assert log.superseded == 0


def test_a_resume_that_counts_iterations_keeps_what_it_resumed_from(tmp_path):
    def counted(first, last, every, loss):
        return "".join(row(1 + i // 100, i, loss) for i in range(first, last + 1, every))

    log = log_of(tmp_path, counted(50, 500, 50, 0.5), counted(425, 600, 25, 0.4))
    assert [seen.step for seen in log.rows] == [*range(50, 401, 50), *range(425, 601, 25)]
    again = log_of(tmp_path, counted(10, 300, 10, 0.5), counted(50, 600, 50, 0.4))
    assert [seen.step for seen in again.rows] == list(range(50, 601, 50))


def test_only_the_first_epoch_done_again_is_all_that_is_left(tmp_path):
    log = log_of(tmp_path, META, run(3, 10, 100, 0.5), META, run(1, 20, 100, 0.6))
    assert places(log) == [(1, iteration) for iteration in range(20, 101, 20)]


def test_a_resume_after_a_start_from_zero_that_ended_early_takes_the_older_rows(tmp_path):
    resumed = run(5, 10, 100, 0.5, first=4)
    log = log_of(tmp_path, META, run(3, 10, 100, 0.5), META, run(1, 20, 60, 0.6), META, resumed)
    assert ({seen.segment for seen in log.rows}, len(log.rows), log.superseded) == ({0, 2}, 50, 0)


def test_a_resume_after_any_number_of_early_ends_takes_the_older_rows(tmp_path):
    """Each of them ends before the one before it."""
    early = (META + run(1, 10, 1400 - 10 * at, 0.6 + at) for at in range(130))
    resumed = "".join(row(1, iteration, 0.2) for iteration in range(1460, 1601, 10))
    log = log_of(tmp_path, META, run(1, 10, 1500, 0.5), *early, META, resumed)
    assert {seen.segment for seen in log.rows} == {0, 131}
    assert [seen.step for seen in log.rows] == list(range(10, 1601, 10))
    assert log.resumed[-1] == (1450, 1500)


def test_a_resume_takes_the_latest_run_that_came_so_far_at_its_own_interval(tmp_path):
    """The last row of a run is short of the end of its epoch by less than its own interval."""
    runs = [run(5, 10, 100, 0.5), run(2, 40, 100, 0.6), run(3, 10, 100, 0.4, first=3)]
    log = log_of(tmp_path, *(text for each in runs for text in (META, each)))
    assert places(log)[:5] == [(1, 40), (1, 80), (2, 40), (2, 80), (3, 10)]


def test_two_processes_that_write_one_json_file_drop_nothing(tmp_path):
    twice = "".join(row(e, i, loss) for e in (1, 2) for i in (10, 20, 30) for loss in (0.5, 0.6))
    log = log_of(tmp_path, twice)
    assert places(log) == [(epoch, iteration) for epoch in (1, 2) for iteration in (10, 20, 30)]


def test_a_log_that_goes_on_in_another_file_is_no_start_from_zero(tmp_path):
    text = mmcv_text(epochs=2)
    cut = text.index(next(line for line in text.splitlines() if "Epoch [1][60/100]" in line))
    for name, part in (("1.log", text[:cut]), ("2.log", text[cut:])):
        (tmp_path / name).write_text(part)
    log = read([tmp_path / "1.log", tmp_path / "2.log"])
    assert (len(log.rows), log.superseded) == (20, 0)


def test_what_a_superseded_run_saved_does_not_finish_the_one_that_is_left(tmp_path):
    first = write_mmcv_log(tmp_path / "1.log", epochs=2, validation=True, load_from="a.pth")
    again = write_mmcv_log(tmp_path / "2.log", epochs=2, interval=20, stop=(2, 20), warmup_iters=40)
    log = read([first, again])
    assert {marker.kind for marker in log.markers if marker.segment == 0} == {"started"}
    assert {seen.segment for seen in log.rows} == {1}
    assert not analyze(log).progress.finished


def test_a_metriclogger_that_starts_again_leaves_only_its_own_rows(tmp_path):
    path = tmp_path / "console.log"
    path.write_text(metriclogger_text(epochs=3, print_freq=5) + metriclogger_text(epochs=2, print_freq=10))
    log = read([path])
    assert ({seen.segment for seen in log.rows}, log.superseded) == ({1}, 1)


def test_a_metriclogger_json_that_starts_again_leaves_only_its_own_rows(tmp_path):
    path = write_metriclogger_json(tmp_path / "log.txt", epochs=3)
    path.write_text(path.read_text() + write_metriclogger_json(tmp_path / "2.txt", epochs=2).read_text())
    log = read([path])
    assert ({seen.segment for seen in log.rows}, log.superseded) == ({1}, 1)
