"""Logs that continue within an epoch, at a step checkpoint: no row is lost, what was redone is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.mmcv_logs import write_mmcv_log
from trainrelay.analysis import analyze
from trainrelay.analysis.readers import read
from trainrelay.records import Expectation, Log


def steps(log: Log) -> list[int]:
    return [row.step for row in log.rows if row.phase == "train"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("resumed", "epoch"), [(None, 1), (1, 2), (2, 3)], ids=["first-epoch", "second", "its-own-is-older"]
)
def test_the_rows_before_a_resume_at_a_step_stay(
    tmp_path: Path, resumed: int | None, epoch: int, known: bool
) -> None:
    """Killed at iteration 78 of an epoch, resumed at 43: what the trainer itself resumed from says less."""
    first = write_mmcv_log(tmp_path / "1.log", epochs=4, stop=(epoch, 70))
    again = write_mmcv_log(tmp_path / "2.log", epochs=4, resumed=resumed, after=(epoch, 43))
    log = read([first, again], {again: (epoch - 1, 43)} if known else None)
    assert steps(log) == list(range(10, 401, 10))
    assert log.redone_iterations == (27 if known else 30)
    analysis = analyze(log, Expectation(epochs=4, ended=("killed", "done")))
    assert not [one for one in analysis.findings if one.severity != "info" or one.check == "resume"]


def test_a_start_of_a_single_row_within_an_epoch_is_no_start_from_zero(tmp_path: Path) -> None:
    first = write_mmcv_log(tmp_path / "1.log", epochs=2, stop=(1, 50))
    short = write_mmcv_log(tmp_path / "2.log", epochs=2, after=(1, 53), stop=(1, 60))
    last = write_mmcv_log(tmp_path / "3.log", epochs=2, after=(1, 63))
    log = read([first, short, last], {short: (0, 53), last: (0, 63)})
    assert (steps(log), log.superseded, log.redone_iterations) == (list(range(10, 201, 10)), 0, 0)


def test_an_attempt_that_did_not_continue_where_it_was_asked_to_is_read_as_it_is(tmp_path: Path) -> None:
    """Its supervisor died before it could record that."""
    first = write_mmcv_log(tmp_path / "1.log", epochs=2, stop=(2, 70))
    again = write_mmcv_log(tmp_path / "2.log", epochs=2, resumed=1)
    log = read([first, again], {again: (1, 43)})
    assert (steps(log), log.redone_iterations) == (list(range(10, 201, 10)), 70)
