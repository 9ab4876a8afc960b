"""How long the trainings of a log took."""

from __future__ import annotations

import pytest

from support.metriclogger_logs import interleaved, metriclogger_text
from trainrelay.analysis.readers import read
from trainrelay.analysis.readers.segments import total_time


def time_of(tmp_path, *files):
    paths = []
    for number, text in enumerate(files):
        paths.append(tmp_path / f"{number}.log")
        paths[-1].write_text(text)
    return read(paths).setup.get("training time")


@pytest.mark.parametrize(
    ("times", "total"),
    [
        ([], None),
        (["0:04:18"], "0:04:18"),
        (["2 hours"], "2 hours"),
        ([""], None),
        (["0:04:18", "0:00:42"], "0:05:00"),
        (["23:59:59", "2 days, 0:00:01"], "3 days, 0:00:00"),
        (["0:00:01", "1 day, 0:00:01.5", "0:00:01"], "1 day, 0:00:03"),
        (["0:04:18", ""], None),
        (["0:04:18", "2 hours"], None),
        (["9" * 30 + ":00:00", "0:00:01"], None),
    ],
)
def test_times_are_summed_where_each_one_is_known(times, total):
    assert total_time(times) == total


def test_the_training_time_of_several_starts_is_the_sum(tmp_path):
    first, second = metriclogger_text(epochs=1), metriclogger_text(epochs=3, resumed=1)
    assert time_of(tmp_path, first + second) == "0:08:36"
    assert time_of(tmp_path, first, second) == "0:08:36"


def test_no_training_time_is_told_where_one_start_did_not_end(tmp_path):
    killed = metriclogger_text(epochs=3, stop=(2, 10)).replace("Training time 0:04:18\n", "")
    assert time_of(tmp_path, killed + metriclogger_text(epochs=3, resumed=1)) is None
    assert time_of(tmp_path, metriclogger_text(epochs=1), killed) is None


def test_the_training_time_that_each_rank_prints_counts_once(tmp_path):
    texts = [metriclogger_text(epochs=2, rank=rank) for rank in range(2)]
    assert time_of(tmp_path, interleaved(texts)) == "0:04:18"
