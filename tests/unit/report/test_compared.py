"""Trainings side by side, the three sentences on top, and a page that reads itself again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from support import sample_report
from support.page import HOSTILE, Page
from support.sample_report import Overview, RunReport
from trainrelay.records import Analysis, Training
from trainrelay.report import comparison, overview_html, run_html
from trainrelay.report.panels import MOST_LINES
from trainrelay.report.plots import draw

MOST_BYTES = 2_000_000


def words(report: RunReport) -> str:
    return Page(run_html(report)).words


def test_runs_are_compared_by_stage_over_epochs_with_their_last_values_and_what_differs() -> None:
    runs = sample_report.sample_overview().runs
    stage1, stage2, pose = comparison.of_runs(runs)
    assert (stage1.title, stage2.title, pose.title) == ("stage1, by run", "stage2, by run", "pose, by run")
    assert stage2.names == ["uniad", "uniad_lr_high", "next_experiment"]
    assert stage2.metrics[0] == ("Total loss", ["47.82", "NaN", ""])
    assert [line.label for line in stage2.panels[0].lines] == ["uniad", "uniad_lr_high"]
    assert stage2.unit == 1
    assert max(step for step, _ in stage2.panels[0].lines[0].points) == pytest.approx(8.66, abs=0.01)
    assert ("trainer", ["mmcv", "", ""]) in stage2.config


def test_where_one_log_knows_no_epochs_all_are_compared_over_iterations() -> None:
    by_iteration = dataclasses.replace(sample_report.stage1_analysis(), by_iteration=True)
    stage = dataclasses.replace(
        sample_report.stage1(), archived=(Training("stage1.old-1", {}, by_iteration),)
    )
    (found,) = comparison.of_run([stage])
    assert found.unit is None
    assert found.panels[0].lines[0].points[-1][0] == found.panels[0].lines[1].points[-1][0] > 20_000


def test_a_training_that_was_never_read_is_compared_by_its_config_alone() -> None:
    assert comparison.of_run([sample_report.stage1()]) == []
    old = Training("stage1.old-1", {"seed": "1"}, None)
    assert comparison.of_run([dataclasses.replace(sample_report.stage1(), archived=(old,))]) == []


def test_of_many_runs_those_past_the_colours_can_be_chosen() -> None:
    """Without the page's script they are named."""
    runs = tuple(RunReport(f"run{n}", (sample_report.stage1(),), {}) for n in range(26))
    (found,) = comparison.of_runs(runs)
    assert [line.label for line in found.panels[0].lines] == [f"run{n}" for n in range(24)]
    assert found.panels[0].left_out == ("run24", "run25")
    assert draw(found.panels[0], 1).svg.count('<path class="stroke-s') == MOST_LINES
    page = Page(overview_html(Overview(runs, {})))
    assert sum("data-off" in attrs for _, attrs in page.elements) == 16


def test_a_hostile_metric_is_text_in_title_plot_and_table() -> None:
    found = sample_report.stage1_analysis()
    metrics = {**found.metrics, "val": {HOSTILE: found.metrics["train"]["loss"]}}
    curves = {**found.curves, "val": {HOSTILE: found.curves["train"]["loss"]}}
    hostile = dataclasses.replace(found, metrics=metrics, curves=curves)
    old = Training("stage1.old-1", {HOSTILE: HOSTILE}, hostile)
    stage = dataclasses.replace(sample_report.stage1(), analysis=hostile, archived=(old,))
    page = run_html(RunReport("x", (stage,), {}))
    assert page.count("<script") == 1
    assert "<img" not in page
    assert not {"\x1b", "\u202e", "\udcff"}.intersection(page)
    assert Page(page).unbalanced == []


def test_three_sentences_say_what_it_is_how_it_goes_and_that_nothing_needs_a_decision() -> None:
    said = words(sample_report.sample_run())
    assert "A training in 2 stages: stage1 (6 epochs), then stage2 (20 epochs), on 8 ranks of gpu07." in said
    assert "stage1 is complete, its loss went from 103.89 to 46.58; stage2 is running with 8 of 20" in said
    assert (
        "epochs done, its loss went from 91.66 to 47.82; about 1 d 1 h to go at its pace."
        " Nothing needs a decision." in said
    )


def test_what_needs_a_decision_is_said_with_its_reason() -> None:
    known = {"option lr": "0.1"}  # a log alone has none, and nobody to decide
    stopped = RunReport("x", (dataclasses.replace(sample_report.failed_stage(), ingredients=known),), {})
    assert "stage2 needs your decision: Attempt 1 diverged." in words(stopped)
    stage = sample_report.accepted(sample_report.stage1(), "fine")
    blocked = dataclasses.replace(stage, acceptance=None)
    said = "stage1 is not promoted unless you accept it: 14 of 1123 tensors"
    assert said in words(RunReport("x", (blocked,), {}))
    assert said not in words(RunReport("x", (stage,), {}))
    refused = dataclasses.replace(sample_report.stage1(), not_promoted="it has no checkpoint of epoch 3")
    told = words(RunReport("x", (refused,), {}))
    assert "Something failed 1 of 1 stage complete" in told
    assert "stage1 is not promoted: it has no checkpoint of epoch 3." in told
    assert "Its checkpoint is not promoted stage1 it has no checkpoint of epoch 3." in told


def test_the_hand_over_between_stages_is_a_row() -> None:
    said = words(sample_report.sample_run())
    assert "stage1 → stage2 epoch_6.pth, promoted as full_track_map.pth, sha256 3f9a1c073f9a" in said
    assert "taken from it: 71.4 % of the model's parameters" in said
    bare = RunReport("x", (sample_report.bare_stage("stage1"), sample_report.bare_stage()), {})
    assert "stage1 → stage2 no checkpoint is promoted yet" in words(bare)


def refreshes(page: str) -> list[Any]:
    return [attrs["content"] for _, attrs in Page(page).elements if attrs.get("http-equiv") == "refresh"]


def test_the_page_reads_itself_again_while_a_training_runs_and_never_after() -> None:
    running, done = sample_report.sample_run(), RunReport("x", (sample_report.stage1(),), {})
    assert refreshes(run_html(running)) == refreshes(overview_html(Overview((done, running), {}))) == ["60"]
    assert refreshes(run_html(done)) == refreshes(overview_html(Overview((done,), {}))) == []


def large() -> Analysis:
    """As many points as an analysis keeps of each of 128 metrics over 20 epochs."""
    found = sample_report.stage2_analysis()
    names = [
        f"{group}.frame_{n % 5}_loss_{n}" for n in range(32) for group in ("track", "map", "motion", "occ")
    ]
    curve = [(176 * at, 47.12345 + 1 / (at + 1)) for at in range(1, 401)]
    return dataclasses.replace(found, curves={"train": dict.fromkeys(["loss", *names], curve)})


def test_the_page_of_twenty_epochs_is_below_two_megabytes() -> None:
    stage = dataclasses.replace(sample_report.stage2(), analysis=large())
    page = run_html(RunReport("x", (sample_report.stage1(), stage), {}))
    assert 200_000 < len(page.encode()) < MOST_BYTES


def test_from_ten_runs_on_there_is_a_table_that_can_be_sorted() -> None:
    runs = sample_report.sample_overview().runs * 2
    assert 'class="sortable"' in overview_html(Overview(runs, {}))
    assert 'class="sortable"' not in overview_html(Overview(runs[:9], {}))
