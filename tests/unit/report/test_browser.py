"""The page in a real browser: no complaint, no request, no horizontal overflow, readable in the dark."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import sample_report
from support.sample_report import Overview, RunReport
from trainrelay.report import overview_html, run_html

pytestmark = pytest.mark.process

HEADLESS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
)
WIDTHS_PX = (360, 768, 1100, 1400)
LONG_NAME = "a/very-long-name_without_a_place_to_break" * 8

# What a page sees of another one in a frame: `outside` are elements that stick out and cannot be
# scrolled to, `faint` are texts with a contrast below what the accessibility guidelines ask for.
MEASURE = """<script>
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
const measure = frame => {
    const page = frame.contentDocument, width = frame.clientWidth;
    for (const each of page.querySelectorAll("details")) each.open = true;
    const all = [...page.body.querySelectorAll("*")];
    const hasText = each => [...each.childNodes].some(node => node.nodeType == 3 && node.data.trim());
    const texts = all.filter(hasText);
    return {
        width: page.documentElement.clientWidth,
        scroll: page.scrollingElement.scrollWidth,
        outside: named(all.filter(each => !each.closest(".scroll > *, svg *")
            && each.getBoundingClientRect().right > width + 0.5)),
        texts: texts.length,
        faint: named(texts.filter(each => contrast(each) < 4.5)),
    };
};
onload = () => {
    document.body.dataset.measured = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
};
</script>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser; a machine of one's own may lack it, CI may not."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("CI needs Chromium on PATH to look at the report (Debian: apt-get install chromium)")
    if found is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    return found


def browse(chromium: str, folder: Path, source: str, *more: str) -> tuple[str, list[str]]:
    """The page's elements after it has loaded, and what the browser's console says."""
    file = folder / "report.html"
    file.write_text(source, encoding="utf-8")
    argv = [chromium, *HEADLESS, f"--user-data-dir={folder / 'profile'}", *more, "--dump-dom", file.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert "</html>" in done.stdout, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measure(chromium: str, folder: Path, source: str, *more: str) -> list[dict[str, Any]]:
    """What a script sees of the page in frames of several widths."""
    frame = '<iframe width="{}" height="900" style="border:0" srcdoc="{}"></iframe>'
    frames = "".join(frame.format(width, html.escape(source)) for width in WIDTHS_PX)
    dom, _ = browse(chromium, folder, f"<!doctype html><html><body>{MEASURE}{frames}</body></html>", *more)
    match = re.search(r'data-measured="([^"]*)"', dom)
    assert match, "the measuring script did not run"
    return list(json.loads(html.unescape(match[1])))


def failed() -> RunReport:
    stages = sample_report.accepted(sample_report.stage1(), "checked by hand"), sample_report.failed_stage()
    return RunReport("failed", stages, {})


def named(hostile: str) -> Overview:
    return Overview((sample_report.with_hostile_names(hostile),), {hostile: hostile, "written at": hostile})


PAGES: dict[str, Callable[[], str]] = {
    "uniad": lambda: run_html(sample_report.sample_run()),
    "keypoints": lambda: run_html(sample_report.keypoint_run()),
    "failed": lambda: run_html(failed()),
    "long-names": lambda: run_html(sample_report.with_hostile_names(LONG_NAME)),
    "overview": lambda: overview_html(sample_report.sample_overview()),
    "overview-long-names": lambda: overview_html(named(LONG_NAME)),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_loads_without_a_complaint_or_a_request(chromium: str, tmp_path: Path, name: str) -> None:
    dom, console = browse(chromium, tmp_path, PAGES[name]())
    assert console == []
    assert 'id="provenance"' in dom


def test_the_policy_forbids_what_the_page_does_not_need_and_the_console_would_tell(
    chromium: str, tmp_path: Path
) -> None:
    planted = '<img src="http://e.example/x.png"><script>1</script><p style="top:0">'
    source = run_html(RunReport("bare", (), {})).replace("</main>", planted + "</main>")
    _, console = browse(chromium, tmp_path, source)
    forbidden = [line for line in console if "Content Security Policy" in line]
    assert len(forbidden) == 3


@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_at_any_width(chromium: str, tmp_path: Path, name: str) -> None:
    seen = measure(chromium, tmp_path, PAGES[name](), "--hide-scrollbars")
    assert [each["width"] for each in seen] == list(WIDTHS_PX)
    assert [each["scroll"] for each in seen] == list(WIDTHS_PX)
    assert [each["outside"] for each in seen] == [[]] * len(WIDTHS_PX)


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
@pytest.mark.parametrize(("name", "texts"), [("failed", 500), ("keypoints", 300), ("overview", 100)])
def test_every_text_stands_out_from_its_ground(
    chromium: str, tmp_path: Path, name: str, texts: int, scheme: int
) -> None:
    """At least 4.5 to 1, as the accessibility guidelines ask of text."""
    setting = f"--blink-settings=preferredColorScheme={scheme}"
    seen = measure(chromium, tmp_path, PAGES[name](), setting)
    assert seen[0]["texts"] > texts
    assert [each["faint"] for each in seen] == [[]] * len(WIDTHS_PX)
