"""Panels and their drawings."""

from __future__ import annotations

import dataclasses
import math
import re
from xml.etree import ElementTree

import pytest

from support import sample_report
from trainrelay.records import Finding
from trainrelay.report.marks import Mark
from trainrelay.report.panels import MOST_LINES, Line, Panel, family_mean, panels
from trainrelay.report.plots import draw, tick, wants_log


def svg(panel: Panel, unit: int | None, marks: tuple[Mark, ...] = ()) -> str:
    return draw(panel, unit, marks).svg


def panel(*values: float, levels: tuple[tuple[str, float], ...] = ()) -> Panel:
    return Panel("Total loss", (Line("training", tuple(enumerate(values))),), levels)


def test_a_uniad_run_of_a_hundred_metrics_is_a_handful_of_panels() -> None:
    drawn = panels(sample_report.stage2_analysis())
    assert [each.title for each in drawn] == [
        "Total loss",
        "Validation metrics",
        "Learning rate",
        "Gradient norm",
        "Tracking losses",
        "Map losses",
        "Motion losses",
        "Occupancy losses",
        "Planning losses",
        "Time per iteration",
        "GPU memory",
    ]
    assert all(len(each.lines) <= MOST_LINES for each in drawn)


def test_what_is_always_zero_is_named_and_not_drawn() -> None:
    track = next(each for each in panels(sample_report.stage1_analysis()) if each.title == "Tracking losses")
    assert track.zero == ("track.loss_past_trajs",)
    assert [line.label for line in track.lines] == ["track.loss_cls", "track.loss_bbox"]


def test_more_curves_than_colours_are_named_and_not_drawn() -> None:
    analysis = sample_report.stage1_analysis()
    many = {f"map.loss_{letter}": [(1, float(place + 1))] for place, letter in enumerate("abcdefghijk")}
    crowded = dataclasses.replace(analysis, curves={"train": many})
    drawn = next(each for each in panels(crowded) if each.title == "Map losses")
    assert [line.label for line in drawn.lines] == [f"map.loss_{letter}" for letter in "defghijk"]
    assert drawn.left_out == ("map.loss_a", "map.loss_b", "map.loss_c")


def test_validation_metrics_of_other_sizes_have_a_panel_and_a_title_each() -> None:
    analysis = sample_report.stage1_analysis()
    scores = {"mAP": [(1, 0.4)], "NDS": [(1, 0.5)], "PQ": [(1, 44.0)]}
    drawn = panels(dataclasses.replace(analysis, curves={"train": {}, "val": scores}))
    assert [each.title for each in drawn] == ["Validation metrics below 100", "Validation metrics below 1"]


def lines(analysis: sample_report.Analysis) -> dict[str, list[str]]:
    return {each.title: [line.label for line in each.lines] for each in panels(analysis)}


def test_a_keypoint_run_shows_its_validation_its_layers_and_no_twin() -> None:
    assert lines(sample_report.keypoint_analysis()) == {
        "Total loss": ["training (medians)", "epoch mean", "validation"],
        "Validation metrics": ["pck@0.1"],
        "Learning rate": ["lr"],
        "Losses of the decoder layers": ["loss_ce", "loss_ce_0 to _4", "loss_coords", "loss_coords_0 to _4"],
        "Other metrics": ["class_error"],
        "Time per iteration": ["time", "data_time"],
    }
    layers = next(each for each in panels(sample_report.keypoint_analysis()) if "decoder" in each.title)
    assert layers.zero == ("loss_ce_room", "loss_ce_room_0 to _4")
    assert [line.members for line in layers.lines] == [1, 5, 1, 5]


def test_rows_that_are_epoch_means_are_called_training() -> None:
    assert lines(sample_report.epochs_only_analysis()) == {
        "Total loss": ["training", "validation"],
        "Validation metrics": ["pck@0.1"],
        "Learning rate": ["lr"],
        "Losses of the decoder layers": ["loss_ce", "loss_ce_0 to _4", "loss_coords", "loss_coords_0 to _4"],
    }


def test_a_curve_of_few_points_shows_each_of_them() -> None:
    few, many = svg(panel(*range(101, 107)), 1), svg(panel(*range(101, 300)), 1)
    assert (few.count("<circle"), many.count("<circle")) == (6, 0)


def texts(drawing: str) -> list[str]:
    """All texts of a drawing: the numbers at its axes and their names."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing)


def test_every_plot_of_a_training_has_its_whole_range() -> None:
    analysis = sample_report.epochs_only_analysis(done=1)
    train = {"loss": [(1, 9.0), (5, 3.0)], "loss_ce": [(1, 2.0), (5, 1.0)]}
    analysis = dataclasses.replace(analysis, curves={"train": train, "val": {"pck@0.1": [(4, 0.5)]}})
    drawn = panels(analysis)
    assert {each.span for each in drawn} == {(0, 5)}
    single = next(each for each in drawn if each.title == "Validation metrics")
    assert {"0", "1", "2", "3", "4", "5"} <= set(texts(svg(single, 1)))


def test_a_log_that_begins_late_in_its_training_is_not_squeezed_into_a_corner() -> None:
    curves = {"train": {"loss": [(90, 9.0), (100, 3.0)]}}
    late = dataclasses.replace(sample_report.stage1_analysis(), curves=curves, total="loss")
    assert [each.span for each in panels(late)] == [(90, 100)]


def test_a_family_is_the_mean_of_its_members_also_where_they_were_sampled_at_other_steps() -> None:
    curves = {"map.loss": [(1, 1.0), (2, 2.0), (3, 3.0)], "map.d0.loss": [(2, 4.0)]}
    line = family_mean("map.loss", list(curves), curves)
    assert line.points == ((1, 2.5), (2, 3.0), (3, 3.5))
    assert line.members == 2


@pytest.mark.parametrize(("evidence", "expected"), [({"clip": 35}, 35.0), ({"clip": 10.0}, 10.0)])
def test_the_clip_value_is_a_line_when_the_evidence_has_it(
    evidence: dict[str, object], expected: float
) -> None:
    finding = Finding("grad-norm", "info", "fine", evidence=evidence)
    analysis = dataclasses.replace(sample_report.stage1_analysis(), findings=(finding,))
    norm = next(each for each in panels(analysis) if each.title == "Gradient norm")
    assert norm.levels == (("clip value", expected),)


@pytest.mark.parametrize("evidence", [{}, {"clip": None}, {"clip": "35"}, {"clip": math.nan}])
def test_no_clip_line_is_invented(evidence: dict[str, object]) -> None:
    finding = Finding("grad-norm", "info", "fine", evidence=evidence)
    analysis = dataclasses.replace(sample_report.stage1_analysis(), findings=(finding,))
    norm = next(each for each in panels(analysis) if each.title == "Gradient norm")
    assert norm.levels == ()


def test_the_same_panel_gives_the_same_bytes() -> None:
    assert svg(panel(3, 2, 1), 2) == svg(panel(3, 2, 1), 2)


def test_a_plot_has_no_id_that_another_one_of_the_page_could_have() -> None:
    assert " id=" not in svg(panel(3, math.nan, 1), 2)


def test_a_plot_needs_no_style_attribute_and_takes_its_colours_from_the_page() -> None:
    drawing = svg(panel(3, math.nan, 1, levels=(("clip value", 2.0),)), 2, (Mark("restart", 1, "again"),))
    assert "style=" not in drawing
    assert "<style" not in drawing
    assert not re.search(r"#[0-9a-f]{6}\b", drawing)
    assert {"stroke-s1", "stroke-level", "stroke-bad", "fill-muted", "mark-restart"} <= set(
        re.findall(r"[\w-]+", drawing)
    )


def test_a_value_that_is_not_finite_is_a_gap_with_a_mark() -> None:
    whole, broken = svg(panel(4, 3, 2, 1), 1), svg(panel(4, 3, math.nan, 1), 1)
    assert "bad" not in whole
    assert "stroke-bad" in broken
    disguised = svg(panel(4, 3.4028e38, math.nan, 1), 1)
    assert disguised.count("stroke-bad") > broken.count("stroke-bad")


def test_labels_from_outside_never_reach_the_drawing() -> None:
    line = Line("$\\frac{1}{0}$<script>", ((1, 1.0), (2, 2.0)))
    drawing = svg(Panel("x", (line,)), None)
    ElementTree.fromstring(drawing)
    assert "frac" not in drawing
    assert "script" not in drawing


@pytest.mark.parametrize(
    ("values", "expected"),
    [((100.0, 50.0), False), ((100.0, 0.01), True), ((100.0, 0.0), False), ((5.0, -1.0), False), ((), False)],
)
def test_the_axis_is_logarithmic_when_small_values_would_be_hidden(
    values: tuple[float, ...], expected: bool
) -> None:
    assert wants_log(panel(*values)) is expected


@pytest.mark.parametrize(
    "values",
    [(1.0,), (0.0, 0.0), (math.nan, math.nan), (1e-300, 1e30), (-1e30, 1e30), (1e-322,), (8e-310, 5e-324)],
)
def test_extreme_curves_are_drawn_without_a_complaint(
    values: tuple[float, ...], recwarn: pytest.WarningsRecorder
) -> None:
    ElementTree.fromstring(svg(panel(*values), 1))
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "0"), (105, "105"), (2e-4, "2e-4"), (0.05, "0.05"), (3.4e38, "3.4e38")]
)
def test_tick_labels_are_short(value: float, expected: str) -> None:
    assert tick(value) == expected
