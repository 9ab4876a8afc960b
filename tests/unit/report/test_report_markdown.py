"""The Markdown of an analysis, held against golden files and against its findings."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

import pytest

from support import sample_report
from trainrelay.records import Analysis, Finding, Progress, Verdict
from trainrelay.report import analysis_markdown
from trainrelay.report.escape import text
from trainrelay.report.formatting import capital

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "<script>|`a`*_x_ [l](http://e.example)\n# h"


def failed() -> Analysis:
    analysis = sample_report.failed_stage().analysis
    assert analysis is not None
    return analysis


def hostile() -> Analysis:
    analysis = sample_report.with_hostile_names(HOSTILE).stages[0].analysis
    assert analysis is not None
    return analysis


def bare(*findings: Finding) -> Analysis:
    """An analysis of a log that holds nothing but what is given."""
    nothing = Progress(0, 0, None, None, None, finished=False)
    return Analysis("mmcv-text", (), 1, 0, 0, nothing, {}, findings, Verdict("warning", "why"))


@pytest.mark.parametrize(
    ("name", "title", "make"),
    [
        ("stage1", "Stage 1 Training Loss Analysis", sample_report.stage1_analysis),
        ("stage2", "Stage 2 Training Loss Analysis", sample_report.stage2_analysis),
        ("keypoints", "keypoints.log", sample_report.keypoint_analysis),
        ("failed", "Stage 2 Training Loss Analysis", failed),
        ("hostile", HOSTILE, hostile),
        ("bare", "Empty", bare),
    ],
)
def test_an_analysis_reads_as_its_golden_file(name: str, title: str, make: object) -> None:
    assert callable(make)
    expected = (GOLDEN / f"{name}.md").read_text(encoding="utf-8").splitlines()
    got = analysis_markdown(title, make()).splitlines()
    difference = "\n".join(difflib.unified_diff(expected, got, f"{name}.md", "got", lineterm=""))
    assert got == expected, difference


def test_the_sections_come_in_the_order_people_know() -> None:
    page = analysis_markdown("Stage 1", sample_report.stage1_analysis())
    sections = [
        "**Setup**",
        "**Training Progress**",
        "### Total Loss Progression",
        "### Key Observations",
        "Healthy convergence",
        "Tracking losses",
        "Map losses",
        "Gradient norm",
        "Learning rate",
        "Loss plateau",
        "**Overall**",
    ]
    places = [page.index(section) for section in sections]
    assert places == sorted(places)


@pytest.mark.parametrize("make", [sample_report.stage1_analysis, sample_report.stage2_analysis, failed])
def test_every_finding_is_said_except_the_progress_that_is_said_anyway(make: object) -> None:
    assert callable(make)
    analysis = make()
    page = analysis_markdown("x", analysis)
    for finding in analysis.findings:
        words = finding.message.removeprefix("Healthy convergence: ").removesuffix(".")
        if finding.check == "components":
            label = finding.evidence["label"]
            words = words.removeprefix(f"{finding.evidence['group']}: ").removeprefix(f"{label} ")
        if finding.check != "progress":
            assert text(words) in page or text(capital(words)) in page


@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
def test_a_finding_of_an_unknown_check_is_printed_with_its_advice(severity: str) -> None:
    finding = Finding("moon-phase", severity, "The moon is full.", advice="Wait a week.")  # type: ignore[arg-type]
    page = analysis_markdown("x", bare(finding))
    assert "1. **Moon phase**:" in page
    assert "The moon is full. Advice: Wait a week." in page


def test_what_is_critical_and_has_no_place_of_its_own_comes_first() -> None:
    analysis = sample_report.stage1_analysis()
    urgent = Finding("non-finite", "critical", "The loss is NaN.", blocking=True)
    changed = dataclasses.replace(analysis, findings=(*analysis.findings, urgent))
    assert "1. **Non-finite numbers**: **Critical**: The loss is NaN." in analysis_markdown("x", changed)


def test_absence_of_trouble_is_claimed_only_where_no_check_found_any() -> None:
    analysis = sample_report.stage1_analysis()
    spiked = Finding("spikes", "warning", "2 loss spikes.")
    assert "no loss spikes" in analysis_markdown("x", analysis)
    changed = dataclasses.replace(analysis, findings=(*analysis.findings, spiked))
    assert "no loss spikes" not in analysis_markdown("x", changed)


def test_the_overall_paragraph_names_what_keeps_the_checkpoint_from_being_promoted() -> None:
    overall = analysis_markdown("x", failed()).splitlines()[-3]
    assert overall.startswith("**Overall**: Training failed its checks.")
    assert "not promoted (non-finite)" in overall


def test_the_last_line_says_how_to_learn_what_the_numbers_mean() -> None:
    last = analysis_markdown("x", bare()).splitlines()[-1]
    assert last == "`trainrelay explain LOG` prints what the numbers mean."


def test_a_log_of_whole_epochs_is_told_without_iterations() -> None:
    page = analysis_markdown("x", sample_report.epochs_only_analysis())
    assert "Currently after **Epoch 4** (~66.7% complete overall)." in page
    assert "iter" not in page


def test_what_only_a_validation_measures_comes_before_its_losses_and_twins_are_left_out() -> None:
    analysis = sample_report.keypoint_analysis()
    losses = {
        f"loss_{name}{tail}": sample_report.MetricSummary(2, 1, 1, 2, 6)
        for name in "abcdefghi"
        for tail in ("", "_unscaled", "_0", "_0_unscaled")
    }
    metrics = {"train": {}, "val": {**losses, "pck@0.1": sample_report.MetricSummary(0.1, 0.8, 0.1, 0.8, 6)}}
    page = analysis_markdown("x", dataclasses.replace(analysis, metrics=metrics))
    validation = page[page.index("**Validation**") :]
    assert validation.splitlines()[1] == "   - `pck@0.1`: 0.10 -> 0.80"
    assert "unscaled" not in validation
    assert "loss_a_0" not in validation
    assert "and 11 more metrics" in validation


def test_the_set_up_names_the_ranks_and_how_many_of_them_print() -> None:
    setup = {"backend": "gloo", "ranks": "2", "ranks printing": "2"}
    page = analysis_markdown("x", dataclasses.replace(sample_report.keypoint_analysis(), setup=setup))
    assert "**Setup**: gloo backend, 2 ranks, each line printed by 2 ranks, 6 epochs total" in page
