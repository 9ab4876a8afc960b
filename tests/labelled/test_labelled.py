"""The made logs are what they are meant to be: read in their format, healthy, or with a fault at its row."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from labelled.drawn import HEALTHY, drawn
from labelled.families import CONSOLE, FAMILIES, Family
from labelled.faults import FAULTS
from labelled.printing import printed
from labelled.score import ANSWERS, Outcome, analysis, judged, scores
from labelled.training import Run, made
from trainrelay.analysis import not_judged
from trainrelay.records import Analysis, Finding

# An analysis of anything, for its type.
NOTHING = not_judged((), "")
WAYS = [(family, form) for family in FAMILIES for form in family.formats]


def analysis_with(finding: Finding) -> Analysis:
    return replace(NOTHING, findings=(finding,))


def where(run: Run, row: int) -> str:
    epoch, iteration = run.places[row]
    return f"epoch {epoch}, iter {iteration - (run.format == CONSOLE)}"


@pytest.mark.parametrize(("family", "form"), WAYS, ids=lambda one: getattr(one, "name", one))
def test_a_made_log_is_read_in_its_format_and_is_healthy(tmp_path: Path, family: Family, form: str) -> None:
    run = made(random.Random(3), family, form, rows=200)
    (tmp_path / "log").write_text(printed(run))
    said = analysis(tmp_path / "log", form)
    assert (said.format, said.segments) == (form, 2 if run.restart else 1)
    assert said.epochs == (1 if run.family.by_iteration else run.epochs)
    assert judged(run, said, "").stray == ()
    assert said.metrics["train"]["loss"].count == run.rows


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_in_the_log_and_follows_from_the_seed(kind: str) -> None:
    run = drawn(5, kind, 0, rows=150)
    text = printed(run)
    assert run.plant is not None
    assert 0 <= run.plant.row < run.rows
    assert text == printed(drawn(5, kind, 0, rows=150)) != printed(drawn(6, kind, 0, rows=150))
    assert kind in ANSWERS


@pytest.mark.parametrize(("off", "placed"), [(0, True), (2, True), (3, False)])
def test_a_sudden_fault_is_in_place_within_two_lines(off: int, placed: bool) -> None:
    run = next(
        run for n in range(0, 99, 2) if not (run := drawn(5, "spike", n, rows=150)).family.by_iteration
    )
    assert run.plant is not None
    said = analysis_with(Finding("spikes", "info", "x", where=where(run, run.plant.row + off)))
    found = judged(run, said, "")
    assert (found.found, found.placed, found.stray) == (True, placed, ())


def test_an_alarm_that_the_fault_does_not_explain_is_counted() -> None:
    run = drawn(5, "spike", 0, rows=150)
    found = judged(run, analysis_with(Finding("learning-rate", "warning", "x")), "")
    assert (found.found, found.stray) == (False, ("learning-rate",))


def test_recall_counts_places_and_precision_healthy_logs() -> None:
    planted = [Outcome("", "spike", True, True, n < 9, frozenset({"spike"}), ()) for n in range(10)]
    healthy = Outcome("", HEALTHY, True, False, False, frozenset({"spike"}), ("spikes",))
    score = next(one for one in scores([*planted, healthy]) if one.kind == "spike")
    assert (score.recall, score.precision, score.holds) == (0.9, 10 / 11, False)
