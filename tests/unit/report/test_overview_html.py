"""The page of all runs, read by a parser as a browser would read it."""

from __future__ import annotations

import dataclasses
from urllib.parse import unquote, urljoin

import pytest

from support import sample_report
from support.page import HOSTILE, Page
from support.sample_report import Overview, RunReport, StageReport
from trainrelay.report import attention, overview_html
from trainrelay.report.card import overview_headline as headline
from trainrelay.report.html import address

HERE = "file:///data/runs/index.html"


def page(*runs: RunReport) -> Page:
    return Page(overview_html(Overview(runs, {"written at": "2026-01-10 07:40:12 UTC"})))


def of(*stages: StageReport, name: str = "uniad") -> RunReport:
    return RunReport(name, stages, {})


def all_overviews() -> list[Overview]:
    hostile = Overview(
        (sample_report.with_hostile_names(HOSTILE),), {HOSTILE: HOSTILE, "written at": HOSTILE}
    )
    return [sample_report.sample_overview(), Overview((of(),), {}), Overview((), {}), hostile]


@pytest.mark.parametrize("overview", all_overviews())
def test_the_page_asks_for_nothing_runs_nothing_and_is_well_formed(overview: Overview) -> None:
    read = Page(overview_html(overview))
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form"}
    assert [tag for tag, _ in read.elements].count("script") == 1
    for _, attrs in read.elements:
        assert not [name for name in attrs if name.startswith("on") or name in {"src", "style"}]
    assert (read.unbalanced, read.open) == ([], [])
    assert len(read.ids) == len(set(read.ids))


def test_hostile_names_are_text_and_lead_nowhere_else() -> None:
    source = overview_html(all_overviews()[-1])
    assert "<img" not in source
    assert source.count("<script") == 1
    assert "\x1b" not in source
    assert "\u202e" not in source
    assert Page(source).text.count("<script>alert(1)</script>") > 5
    source.encode("utf-8")


@pytest.mark.parametrize(
    "name",
    ["uniad", "a b", "javascript:alert(1)", "//e.example/x", "../../etc", "a#b?c&d", 'a"><img', "ü\udcff"],
)
def test_a_link_leads_to_the_report_of_its_run_whatever_the_run_is_called(name: str) -> None:
    target = urljoin(HERE, address(name))
    folder, _, file = target.removeprefix("file:///data/runs/").partition("/")
    assert target.startswith("file:///data/runs/")
    assert (unquote(folder), file) == (name.replace("\udcff", "?"), "report.html")


def test_each_run_links_to_its_report_and_to_what_needs_attention() -> None:
    read = page(of(sample_report.stage2(), name="a b"), of(sample_report.stage1(), name="calm"))
    links = [attrs["href"] for tag, attrs in read.elements if tag == "a"]
    assert links == ["a%20b/report.html", "a%20b/report.html#attention", "calm/report.html"]
    assert "4 things need attention." in read.words
    assert "Nothing needs attention." in read.words


@pytest.mark.parametrize("state", ["stopped", "changed", "foreign", "refused"])
def test_a_stage_that_needs_a_decision_needs_attention(state: str) -> None:
    """Also where its last attempt was stopped on request; why one that is stopped ended is told with that."""
    stage = sample_report.stage2()
    last = stage.attempts[-1].model_copy(update={"end": "time-limit", "reason": "stopped by Slurm"})
    why = "3 attempts in a row saved no new checkpoint."
    stopped = dataclasses.replace(stage, attempts=(*stage.attempts[:-1], last), state=state, state_reason=why)
    assert "5 things need attention." in page(of(stopped)).words
    ended = dataclasses.replace(stopped, attempts=(last.model_copy(update={"end": "hang"}),))
    told = [one.title for one in attention.notices(ended) if one.tone == "bad" or "ended" in one.title]
    assert told == ["It needs your decision", *["Attempt 2 ended: hang"][state == "stopped" :]]


def test_one_thing_is_told_in_the_singular() -> None:
    assert "1 thing needs attention." in page(of(sample_report.keypoint_stage())).words


def test_one_glance_at_a_run_tells_where_each_stage_stands() -> None:
    words = page(of(sample_report.stage1(), sample_report.stage2())).words
    for said in (
        "written at 2026-01-10 07:40:12 UTC",
        "!Needs a look 1 of 2 stages complete",
        "1 stage1 ✓complete ✓Healthy Epochs done 6 of 6 Total loss 103.89 → 46.58 −55% Time 2 d 1 h",
        "Backend gloo Promoted checkpoint full_track_map.pth",
        "2 stage2 ▸running !Needs a look Epochs done 8 of 20",
        "pts_bbox_NuScenes/mAP 0.10 → 0.80 in 8 validations Time 21 h 42 min",
    ):
        assert said in words
    assert words.index("1 stage1") < words.index("2 stage2")


def test_runs_stand_in_the_order_of_the_config() -> None:
    headings = [run.run for run in sample_report.sample_overview().runs]
    words = Page(overview_html(sample_report.sample_overview())).words
    places = [words.index(f" {name} ") for name in headings]
    assert places == sorted(places)


def test_a_run_of_which_nothing_is_known_has_its_place() -> None:
    words = page(of(sample_report.bare_stage("stage1"), sample_report.bare_stage(), name="next")).words
    assert "next ·Not started 0 of 2 stages complete" in words
    assert "Epochs done 0 of 20 Total loss not logged yet Time not started Backend not chosen yet" in words


def test_a_config_without_runs_and_a_run_without_stages_are_said_to_be_so() -> None:
    assert "The config names no run." in page().words
    assert "This run has no stage." in page(of()).words


@pytest.mark.parametrize("part", ["attempts", "train", "checkpoint", "analysis", "acceptance"])
def test_any_part_of_a_stage_may_be_missing(part: str) -> None:
    stage = sample_report.accepted(sample_report.stage1(), "why")
    whole = page(of(dataclasses.replace(stage, **{part: () if part == "attempts" else None})))
    assert "stage1" in whole.words


def test_the_headline_is_the_gravest_run_and_counts_the_complete_ones() -> None:
    calm, failed = of(sample_report.stage1()), of(sample_report.failed_stage())
    fresh = of(sample_report.bare_stage())
    assert headline(Overview((calm, calm), {})) == ("ok", "Healthy", "2 of 2 runs complete")
    assert headline(Overview((calm, fresh), {})) == ("ok", "Under way", "1 of 2 runs complete")
    assert headline(Overview((calm, failed, fresh), {})) == (
        "bad",
        "Something failed",
        "1 of 3 runs complete",
    )
    assert headline(Overview((fresh,), {})) == ("idle", "Not started", "0 of 1 run complete")
