"""The pages in a real browser: no complaint, no request, nothing sticks out or overlaps, its script works."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import sample_report
from support.browser import Browser, chromium
from support.page import HOSTILE
from support.sample_report import Overview, RunReport, StageReport
from trainrelay.records import Training
from trainrelay.report import overview_html, run_html

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("browser")]

WIDTHS_PX = (380, 1000, 1600)
LONG_NAME = "a/very-long-name_without_a_place_to_break" * 8

# `outside` sticks out and cannot be scrolled to, `faint` is text with a contrast below what the accessibility
# guidelines ask for, `overlapping` are texts of which one is over another.
MEASURE = """(() => {
const colour = text => text.match(/[\\d.]+/g).map(Number);
const light = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
const ground = each => {
    const found = each ? colour(getComputedStyle(each).backgroundColor) : [255, 255, 255];
    return found.length < 4 || found[3] > 0 ? found : ground(each.parentElement);
};
const contrast = each => {
    const style = getComputedStyle(each);
    const ink = colour(each.closest("svg") ? style.fill : style.color);
    const [high, low] = [luminance(ink), luminance(ground(each))].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
};
const named = elements => elements.map(each => each.tagName + "." + each.getAttribute("class"));
for (const each of document.querySelectorAll("details")) each.open = true;
const all = [...document.body.querySelectorAll("*")].filter(each => !each.closest("script, title, option"));
const width = document.documentElement.clientWidth;
const isText = node => node.nodeType == 3 && node.data.trim();
const texts = all.flatMap(each => [...each.childNodes].filter(isText));
const boxes = [];
for (const node of texts) {
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) if (box.width) boxes.push([box, node]);
}
boxes.sort((x, y) => x[0].top - y[0].top);
const overlapping = [];
boxes.forEach(([a, one], at) => {
    for (let next = at + 1; next < boxes.length && boxes[next][0].top < a.bottom - 4; next++) {
        const [b, other] = boxes[next];
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        if (one !== other && across > 1) overlapping.push([one.data.trim(), other.data.trim()]);
    }
});
return {
    scroll: document.scrollingElement.scrollWidth,
    outside: named(all.filter(each => !each.closest(".scroll > *, svg *")
        && each.getBoundingClientRect().right > width + 0.5)),
    texts: texts.length,
    faint: named([...new Set(texts.map(node => node.parentElement))].filter(each => contrast(each) < 4.5)),
    overlapping,
};
})()"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser; a machine of one's own may lack it, CI may not."""
    program = chromium()
    if program is None and os.environ.get("CI") == "true":
        pytest.fail("CI needs Chromium on PATH to look at the report (Debian: apt-get install chromium)")
    if program is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    opened = Browser(program)
    yield opened
    opened.close()


def failed() -> RunReport:
    stages = sample_report.accepted(sample_report.stage1(), "checked by hand"), sample_report.failed_stage()
    return RunReport("failed", stages, {})


def named(hostile: str) -> Overview:
    return Overview((sample_report.with_hostile_names(hostile),), {hostile: hostile, "written at": hostile})


def archived() -> RunReport:
    """A stage with an archived training, links and the end of its log; of few curves: axe is slow."""
    stage = sample_report.stage2()
    assert stage.analysis is not None
    curves = {"train": {name: stage.analysis.curves["train"][name] for name in ("loss", "lr")}}
    analysis = dataclasses.replace(stage.analysis, curves=curves)
    old = Training("stage2.old-1", {"seed": "1", "config lr": "2e-4"}, sample_report.failed_analysis())
    links = {"log": "./stage2/attempts/002/trainer.log", "work dir": "./stage2/work_dir"}
    more = {"archived": (old,), "links": links, "last_lines": ("Epoch [9]", "loss: 47.8")}
    stage = dataclasses.replace(stage, analysis=analysis, **more)
    return RunReport("archived", (sample_report.bare_stage("stage1"), stage), {"written at": "today"})


def ten() -> Overview:
    runs = sample_report.sample_overview().runs
    more = tuple(dataclasses.replace(runs[n % 5], run=f"run{9 - n}") for n in range(10))
    return Overview(more, {"written at": "today"})


def log_alone() -> RunReport:
    """Of a log that began again and has a course of its own."""
    stage = StageReport("train.log", "not finished", epochs=20, analysis=sample_report.stage2_analysis())
    return RunReport("train.log", (stage,), {})


def twelve() -> Overview:
    runs = (sample_report.stage1(), sample_report.failed_stage())
    return Overview(tuple(RunReport(f"run{n}", (runs[n % 5 == 4],), {}) for n in range(12)), {"config": "c"})


PAGES: dict[str, Callable[[], str]] = {
    "uniad": lambda: run_html(sample_report.sample_run()),
    "keypoints": lambda: run_html(sample_report.keypoint_run()),
    "failed": lambda: run_html(failed()),
    "archived": lambda: run_html(archived()),
    "long-names": lambda: run_html(sample_report.with_hostile_names(LONG_NAME)),
    "overview": lambda: overview_html(sample_report.sample_overview()),
    "ten-runs": lambda: overview_html(ten()),
    "twelve-runs": lambda: overview_html(twelve()),
    "log-alone": lambda: run_html(log_alone()),
    "overview-long-names": lambda: overview_html(named(LONG_NAME)),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_in_order_at_any_width_light_and_dark(browser: Browser, name: str) -> None:
    """Texts have at least 4.5 to 1, as the accessibility guidelines ask."""
    browser.open(PAGES[name]())
    assert browser.run("document.querySelector('#provenance') !== null")
    for width in WIDTHS_PX:
        browser.show(width_px=width)
        light = browser.run(MEASURE)
        assert light["texts"] > 30
        assert (light["scroll"], light["outside"], light["overlapping"]) == (width, [], [])
        assert light["faint"] == []
    browser.show(dark=True)
    assert browser.run(MEASURE)["faint"] == []
    assert browser.console == []


def test_the_policy_forbids_what_the_page_does_not_need_and_the_console_would_tell(browser: Browser) -> None:
    planted = '<img src="http://e.example/x.png"><script>1</script><p style="top:0">'
    browser.open(run_html(RunReport("bare", (), {})).replace("</main>", planted + "</main>"))
    forbidden = [line for line in browser.console if "Content Security Policy" in line]
    assert len(forbidden) == 3


def test_a_run_past_the_colours_is_drawn_once_its_name_is_clicked(browser: Browser) -> None:
    browser.open(PAGES["twelve-runs"](), width_px=1600)
    drawn = "document.querySelector('#compare figure').querySelectorAll('.chart > [class^=stroke-s]').length"
    names = "document.querySelector('#compare figure').querySelectorAll('.legend button')"
    assert browser.run(f"[...{names}].map(each => each.getAttribute('aria-pressed')).indexOf('false')") == 8
    before = browser.run(drawn)
    browser.run(f"{names}[9].click()")
    assert browser.run(drawn) == before + 1
    assert browser.console == []


@pytest.mark.parametrize("name", ["failed", "archived", "log-alone", "overview", "twelve-runs"])
def test_axe_finds_no_violation(browser: Browser, name: str) -> None:
    """Every part of a page is on one of these. Contrast, which takes most of its time, is measured above."""
    found = importlib.util.find_spec("axe_core_python")
    if found is None or found.origin is None:
        pytest.skip("axe-core-python is not installed (make setup)")
    browser.open(PAGES[name]())
    browser.run((Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8") + ";0")
    seen = browser.run(
        "axe.run({rules: {'color-contrast': {enabled: false}}}).then(seen => seen.violations.map(each =>"
        " [each.id, each.help, each.nodes.slice(0, 3).map(node => node.html)]))"
    )
    assert seen == []


def test_without_its_script_the_page_is_whole_and_with_it_the_curves_look_the_same(browser: Browser) -> None:
    marks = "[...document.querySelectorAll('.chart')].map(each => each.querySelectorAll('text').length)"
    places = "[...document.querySelectorAll('.chart text')].map(each => each.textContent)"
    browser.open(PAGES["uniad"](), script=False)
    assert browser.run("document.querySelector('.tools')") is None
    drawn = browser.run(marks), browser.run(places)
    assert min(drawn[0]) > 5
    browser.open(PAGES["uniad"]())
    assert (browser.run(marks), browser.run(places)) == drawn


def test_hostile_names_stay_text_under_the_pointer_too(browser: Browser) -> None:
    browser.open(run_html(sample_report.with_hostile_names(HOSTILE)))
    assert browser.console == []
    x, y, width, height = chart(browser, 0)
    browser.mouse("Moved", x + width / 2, y + height / 2)
    assert browser.run("document.querySelectorAll('script, img').length") == 1
    plot = "document.querySelector('[data-plot]')"
    assert HOSTILE[:25] in browser.run("document.body.innerText")
    assert browser.run(f"{plot}.querySelector('.tip').innerText").startswith("epoch")


# ---------------------------------------------------------------------- what the script does


def chart(browser: Browser, at: int) -> tuple[float, float, float, float]:
    """Where the at-th plot of the page's second stage is, or of its first; scrolled to."""
    return tuple(
        browser.run(f"""(() => {{
            const stage = [...document.querySelectorAll('.plots')].slice(0, 2).at(-1);
            const each = stage.querySelectorAll('.chart')[{at}];
            each.scrollIntoView({{behavior: 'instant', block: 'center'}});
            const box = each.getBoundingClientRect();
            return [box.x, box.y, box.width, box.height];
        }})()""")
    )


def places(browser: Browser, at: int = 0) -> list[Any]:
    """The numbers below the at-th plot."""
    chosen = f"[...document.querySelectorAll('.plots')][1].querySelectorAll('.chart')[{at}]"
    middle = f"[...{chosen}.querySelectorAll('text[text-anchor=middle]')]"
    return list(browser.run(f"{middle}.map(each => +each.textContent)"))


def choose(browser: Browser, at: int, word: str) -> None:
    browser.run(f"""(() => {{
        const each = document.querySelectorAll('.tools select, .tools input')[{at}];
        each.value = '{word}';
        each.dispatchEvent(new Event(each.tagName == 'SELECT' ? 'change' : 'input'));
    }})()""")


@pytest.fixture
def uniad(browser: Browser) -> Browser:
    browser.open(PAGES["uniad"](), width_px=1600)
    return browser


def test_the_pointer_shows_exact_values_of_the_log_and_what_happened_there(uniad: Browser) -> None:
    x, y, width, height = chart(uniad, 0)
    uniad.mouse("Moved", x + width * 0.5, y + height / 2)
    tip = uniad.run("document.querySelector('.tip:not([hidden])').innerText")
    step = int(tip.split("iteration ")[1].split(" ")[0].replace(",", ""))
    curve = dict(sample_report.stage2_analysis().curves["train"]["loss"])
    assert str(curve[step]) in tip.split()
    uniad.mouse("Moved", x + 55 / 440 * width + 0.462 * 379 / 440 * width, y + height / 2)
    tip = uniad.run("document.querySelector('.tip:not([hidden])').innerText")
    assert "backend nccl → gloo" in tip
    assert "redone: attempt 1 had come to epoch 5, iter 1240" in tip
    uniad.mouse("Moved", 5, 5)
    assert uniad.run("document.querySelector('.tip:not([hidden])')") is None


def test_a_drag_zooms_all_plots_of_a_stage_and_a_double_click_shows_all(uniad: Browser) -> None:
    before = places(uniad, 0), places(uniad, 3)
    x, y, width, height = chart(uniad, 0)
    uniad.mouse("Pressed", x + width * 0.4, y + height / 2, 1)
    uniad.mouse("Moved", x + width * 0.5, y + height / 2, 1)
    uniad.mouse("Moved", x + width * 0.6, y + height / 2, 1)
    uniad.mouse("Released", x + width * 0.6, y + height / 2, 1)
    assert places(uniad, 0) == places(uniad, 3) != before[0]
    assert 2 < min(places(uniad, 0)) < max(places(uniad, 0)) < 6
    uniad.click(x + width * 0.5, y + height / 2, times=2)
    assert (places(uniad, 0), places(uniad, 3)) == before
    assert uniad.console == []


def test_a_click_on_a_name_hides_its_curve_and_another_one_shows_it(uniad: Browser) -> None:
    chart(uniad, 1)
    names = "[...document.querySelectorAll('.plots')][1].querySelectorAll('figure')[1]"
    curves = (
        f"[...{names}.querySelectorAll('.chart > [class^=stroke-s]')].map(each => each.getAttribute('class'))"
    )
    assert uniad.run(curves) == ["stroke-s1", "stroke-s2"]
    box = (
        f"(() => {{const b = {names}.querySelector('button').getBoundingClientRect(); return [b.x, b.y]}})()"
    )
    x, y = uniad.run(box)
    for shown in (["stroke-s2"], ["stroke-s1", "stroke-s2"]):
        uniad.click(x + 5, y + 5)
        assert uniad.run(curves) == shown
        pressed = "true" if len(shown) == 2 else "false"
        assert uniad.run(f"{names}.querySelector('button').getAttribute('aria-pressed')") == pressed


def test_the_axes_are_epochs_iterations_or_hours_linear_or_logarithmic_and_curves_smoothed(
    uniad: Browser,
) -> None:
    choose(uniad, 0, "iteration")
    assert max(places(uniad)) >= 30000
    choose(uniad, 0, "time")
    assert 20 < max(places(uniad)) < 60
    choose(uniad, 1, "log")
    captions = "[...document.querySelectorAll('[data-plot] figcaption small')].map(each => each.textContent)"
    assert set(uniad.run(captions)) <= {"log scale", "linear, as not all is above 0"}
    choose(uniad, 1, "linear")
    assert set(uniad.run(captions)) == {""}
    assert uniad.run("document.querySelectorAll('.raw').length") == 0
    choose(uniad, 2, "0.9")
    assert uniad.run("document.querySelectorAll('.raw').length") > 5
    assert uniad.console == []


def test_a_click_on_a_head_sorts_the_table_of_ten_runs_and_what_is_not_known_is_last(
    browser: Browser,
) -> None:
    browser.open(PAGES["ten-runs"](), width_px=1600)
    column = "[...document.querySelector('.sortable').tBodies[0].rows].map(each => each.cells[{}].innerText)"
    heads = "document.querySelectorAll('.sortable th button')"
    browser.run(f"{heads}[0].click()")
    assert list(dict.fromkeys(browser.run(column.format(0)))) == [f"run{n}" for n in range(10)]
    browser.run(f"{heads}[5].click(); {heads}[5].click()")
    losses = browser.run(column.format(5))
    known = [text for text in losses if text not in ("", "NaN")]
    assert known == sorted(known, key=float, reverse=True)
    assert losses[: len(known)] == known
