"""The pure parts of the live view: lost iterations, columns that fit, figures."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from trainrelay.records import AttemptRecord, Place, ResumePoint
from trainrelay.trainers import StepSeen
from trainrelay.watching import StageRow, fitting_columns, remarks
from trainrelay.watching.row import Label, _place
from trainrelay.watching.stage import iterations_lost, recorded_last_step
from trainrelay.watching.table import GAP_CHARS, ago


def attempt(number: int, after_epoch: int | None, last: tuple[int, int] | None = None) -> AttemptRecord:
    return AttemptRecord(
        number=number,
        tag=str(number),
        host="h",
        supervisor_pid=1,
        place=Place(host="h"),
        supervisor_ticks=1,
        argv=[],
        env={},
        cwd="/",
        log="trainer.log",
        backend="gloo",
        world_size=2,
        epochs=6,
        resumed_from=None if after_epoch is None else ResumePoint(path="p", epoch=after_epoch),
        started_s=0.0,
        last_epoch=last and last[0],
        last_iteration=last and last[1],
        iters_per_epoch=100,
    )


def lost(*attempts: AttemptRecord) -> int:
    return iterations_lost(
        attempts, {one.number: end for one in attempts if (end := recorded_last_step(one))}
    )


def test_iterations_past_the_next_attempts_checkpoint_are_lost() -> None:
    """40 of epoch 3; then a sound checkpoint of epoch 2 was found broken: all of epoch 2 and 3."""
    assert lost(attempt(1, None, (3, 40)), attempt(2, 2)) == 40
    assert lost(attempt(1, None, (3, 40)), attempt(2, 1)) == 140
    assert lost(attempt(1, None, (3, 40)), attempt(2, 2, (3, 70)), attempt(3, 2)) == 110


def test_what_no_attempt_repeated_is_not_lost() -> None:
    """Neither what the newest attempt trained, nor the last iterations of an epoch that no line told."""
    assert lost(attempt(1, None, (3, 40))) == 0
    assert lost(attempt(1, None, (2, 90)), attempt(2, 2, (3, 10))) == 0
    assert lost(attempt(1, None), attempt(2, None)) == 0


def test_an_attempt_that_begins_anew_loses_everything() -> None:
    assert lost(attempt(1, None, (2, 30)), attempt(2, None)) == 130


RUNNING = StageRow(
    run="driving",
    stage="stage1",
    state="running",
    reason="attempt 2 on h",
    epochs=6,
    epoch=2,
    iteration=610,
    iterations_per_epoch=3517,
    loss=66.1612,
    last_losses=tuple(float(value) for value in range(40)),
    eta_s=193607.0,
    iterations_per_s=0.44,
    backend="gloo",
    backend_is_fallback_from="nccl",
    attempt_number=2,
    iterations_lost=1234,
    last_event="attempt 2 resumes after epoch 1",
    last_event_ago_s=125.0,
)
FRESH = StageRow("driving", "stage2", "fresh", "nothing trained yet", epochs=20)


def test_of_iterations_all_are_shown_once_all_are_saved() -> None:
    """The last that was printed may be some before."""
    for done, shown in ((800, 800), (700, 790)):
        facts: Any = SimpleNamespace(unit="iteration", done=done, asked=800)
        assert _place(facts, None, StepSeen(1, 790, 800, 0.5, None)) == (None, shown, 800)


def width(rows: list[StageRow], width_chars: int | None) -> int:
    columns = fitting_columns(rows, width_chars)
    return sum(column.width for column in columns) + GAP_CHARS * (len(columns) - 1)


def test_a_wide_terminal_shows_everything() -> None:
    columns = {column.title: column.cells for column in fitting_columns([RUNNING, FRESH], 140)}
    assert columns["stage"] == ("driving/stage1", "driving/stage2")
    assert columns["epoch"] == ("2/6", "-")
    assert columns["iteration"] == ("610/3517", "-")
    assert columns["loss"] == ("66.16", "-")
    assert columns["ETA"] == ("2 d 05:46", "-")
    assert columns["backend"] == ("gloo (fallback)", "-")
    assert columns["attempt"] == ("2", "-")
    assert columns["lost"] == ("1234 it", "-")


def test_80_columns_keep_state_place_loss_and_eta() -> None:
    titles = [column.title for column in fitting_columns([RUNNING, FRESH], 80)]
    assert titles == ["stage", "state", "epoch", "iteration", "loss", "last losses", "ETA"]


def test_no_line_is_wider_than_the_terminal() -> None:
    long = replace(RUNNING, run="r" * 64, stage="s" * 64, state="silent", silent_s=123456.0)
    for width_chars in range(24, 200):
        assert width([RUNNING, FRESH], width_chars) <= max(width_chars, 21), width_chars
        assert width([long, FRESH], width_chars) <= max(width_chars, 23), width_chars


def test_stage_and_state_stay_on_the_narrowest_terminal() -> None:
    assert [column.title for column in fitting_columns([RUNNING], 10)] == ["stage", "state"]


def test_remarks_tell_what_fits_no_column() -> None:
    """Why it stopped is told once."""
    failed = replace(FRESH, state="stopped", reason="attempt 3: diverged")
    failed = replace(failed, last_event="stopped, needs your decision: diverged", last_event_ago_s=3.0)
    silent = replace(FRESH, state="silent", reason="attempt 1 on a")
    assert list(remarks([RUNNING, failed, silent, FRESH])) == [
        "driving/stage1: gloo is a fallback from nccl",
        "driving/stage1, 2 min ago: attempt 2 resumes after epoch 1",
        "driving/stage2: attempt 3: diverged",
        "driving/stage2, 3 s ago: stopped, needs your decision",
        "driving/stage2: its supervisor gives no sign of life; attempt 1 on a",
    ]


@pytest.mark.parametrize("label", ["suspended", "supervised", "running?"])
def test_a_label_that_does_not_explain_itself_is_explained(label: Label) -> None:
    (told,) = remarks([replace(FRESH, state=label, reason="attempt 1 on a")])
    assert re.fullmatch(r"driving/stage2: .*its supervisor .*; attempt 1 on a", told)


def test_ages_are_readable() -> None:
    assert [ago(seconds) for seconds in (0, 119, 120, 7200, 172800)] == [
        "0 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]


def test_figures_are_json_with_null_for_what_is_not_finite() -> None:
    shown = json.loads(orjson.dumps(replace(RUNNING, loss=math.nan, last_losses=(math.inf,)).as_json()))
    assert shown["loss"] is None
    assert shown["last_losses"] == [None]
    assert (shown["eta_s"], shown["iterations_lost"], shown["last_event_ago_s"]) == (193607.0, 1234, 125.0)
    assert shown["backend_is_fallback_from"] == "nccl"


def test_what_came_from_the_initial_checkpoint_is_told_while_the_attempt_is_open() -> None:
    row, said = replace(RUNNING, initial="71 %"), "driving/stage1: from the initial checkpoint: 71 %"
    assert said in list(remarks([row]))
    assert said not in list(remarks([replace(row, state="complete")]))
    assert row.as_json()["initial"] == "71 %"
