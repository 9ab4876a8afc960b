"""What the numbers of a log mean, as Markdown and in the page's words."""

from __future__ import annotations

import dataclasses

import pytest

from support import sample_report
from support.sample_report import Explained, Explanation, Section, Sign
from trainrelay.report import explanation_markdown
from trainrelay.report.explanation import by_kind, sign_tone

HOSTILE = "<script>|`a`*_x_ [l](http://e.example)\n# h"


def only(*signs: Sign, items: tuple[Explained, ...] = (), text: str = "") -> str:
    return explanation_markdown("x", Explanation("m", (Section("Part", text, items, signs),)))


def test_every_section_item_fact_and_sign_is_printed() -> None:
    explanation = sample_report.keypoint_explanation()
    page = explanation_markdown("keypoints.log", explanation)
    assert page.startswith("## keypoints.log\n\nExplained with what is known of keypoints.\n")
    assert page.endswith("\n")
    for section in explanation.sections:
        assert f"### {section.title}\n" in page
        assert all(f"- `{item.name}`: " in page for item in section.items)
        assert page.count("  - ") == sum(
            len(item.facts) for each in explanation.sections for item in each.items
        )
        assert all(f": {sign.text}. {sign.evidence.rstrip('.')}" in page for sign in section.signs)


@pytest.mark.parametrize(
    ("kind", "title", "seen", "words"),
    [
        ("good", "Good signs", True, "✓ **seen**"),
        ("good", "Good signs", False, "✗ **not seen**"),
        ("good", "Good signs", None, "? **unclear**"),
        ("warning", "Warning signs", True, "! **seen**"),
        ("warning", "Warning signs", False, "✓ **not seen**"),
        ("warning", "Warning signs", None, "? **unclear**"),
    ],
)
def test_a_sign_says_in_words_whether_it_is_seen_and_by_its_mark_whether_that_is_good(
    kind: str, title: str, seen: bool | None, words: str
) -> None:
    page = only(Sign(kind, "The loss falls", seen, "3 -> 1", "convergence"))  # type: ignore[arg-type]
    assert f"**{title}**\n\n- {words}: The loss falls. 3 -> 1." in page


def test_good_signs_come_before_warning_signs_whatever_their_order() -> None:
    bad, good = Sign("warning", "b", None, "", ""), Sign("good", "g", None, "", "")
    assert by_kind(Section("x", signs=(bad, good))) == [("Good signs", [good]), ("Warning signs", [bad])]


@pytest.mark.parametrize(
    ("kind", "seen", "tone"),
    [
        ("good", True, "ok"),
        ("good", False, "idle"),
        ("good", None, "idle"),
        ("warning", True, "warn"),
        ("warning", False, "ok"),
        ("warning", None, "idle"),
    ],
)
def test_only_a_warning_sign_that_is_seen_alarms(kind: str, seen: bool | None, tone: str) -> None:
    assert sign_tone(Sign(kind, "t", seen, "e", "c")) == tone  # type: ignore[arg-type]


def test_hostile_text_is_shown_and_never_obeyed() -> None:
    page = explanation_markdown(HOSTILE, sample_report.hostile_explanation(HOSTILE))
    outside_code = page.replace(f"`` {' '.join(HOSTILE.split())} ``", "")
    assert outside_code != page
    assert "<script>" not in outside_code.replace("\\<script\\>", "")
    assert "[l]" not in outside_code
    assert not [line for line in page.splitlines() if line.startswith("# ")]


def test_a_text_with_a_number_and_a_dot_does_not_become_a_list() -> None:
    assert "\n1\\. First\n\n2\\) Second\n" in only(text="1. First\n\n2) Second")


def test_where_no_knowledge_fits_the_page_says_so() -> None:
    unknown = dataclasses.replace(sample_report.keypoint_explanation(), model="")
    assert "No knowledge file fits these metrics" in explanation_markdown("x", unknown)


def test_an_item_may_have_a_name_alone_and_a_sign_no_evidence() -> None:
    page = only(Sign("good", "It runs", True, "", ""), items=(Explained("eta", ""),))
    assert "- `eta`\n" in page
    assert "- ✓ **seen**: It runs.\n" in page
