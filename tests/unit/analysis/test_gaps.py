"""A start that continues further on than the logs before it came: the part between is named."""

from __future__ import annotations

import json

import pytest

from support.mmcv_logs import write_mmcv_log
from trainrelay.analysis import analyze, read


def gaps_of(*paths):
    log = read(list(paths))
    return log.gaps, [one for one in analyze(log).findings if one.check == "gaps"]


def test_logs_that_follow_each_other_leave_no_gap(tmp_path):
    first = write_mmcv_log(tmp_path / "1.log", epochs=3, stop=(1, 100))
    second = write_mmcv_log(tmp_path / "2.log", epochs=3, resumed=1)
    assert gaps_of(first, second) == ((), [])


def test_the_epochs_of_a_log_that_was_not_given_are_named(tmp_path):
    first = write_mmcv_log(tmp_path / "1.log", epochs=4, stop=(1, 100))
    third = write_mmcv_log(tmp_path / "3.log", epochs=4, resumed=3)
    length = read([first]).iters_per_epoch
    ((start, end),), (finding,) = gaps_of(first, third)
    assert end == 3 * length
    assert start <= length
    assert finding.severity == "info"
    assert f"No log of iterations {start + 1} to {end}:" in finding.message


@pytest.mark.parametrize("epochs", [[0, 1, 2, 1, 2, 3], [0, 1, 2, 5, 6]])
def test_within_one_start_nothing_is_a_gap(tmp_path, epochs):
    path = tmp_path / "log.txt"
    path.write_text("".join(json.dumps({"epoch": at, "train_loss": 2.0}) + "\n" for at in epochs))
    assert gaps_of(path)[0] == ()
