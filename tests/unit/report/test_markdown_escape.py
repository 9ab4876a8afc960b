"""Outside text in Markdown is shown, not obeyed; a real Markdown parser is the judge."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from trainrelay.report import escape
from trainrelay.report.formatting import clean

PARSER = MarkdownIt("commonmark").enable(["strikethrough", "table"])
MARKUP = st.text(alphabet="ab1 *_`~[]()<>!#|$&\\-+.:/@\n\"'é", max_size=40)


def shown(outside: str) -> str:
    return " ".join(clean(outside).split())


@given(MARKUP)
@example("<script>alert(1)</script>")
@example("**bold** _em_ ~~gone~~ [link](http://a.example) ![i](b)")
@example("&lt;b&gt; &amp;")
def test_escaped_text_reads_as_itself_and_makes_no_element(outside: str) -> None:
    made = PARSER.renderInline("x " + escape.text(outside))
    assert not re.search(r"<(?!br)", made)
    assert html.unescape(made).removeprefix("x ").strip() == shown(outside)


@given(MARKUP)
def test_a_code_span_holds_the_whole_name_and_nothing_else(outside: str) -> None:
    made = PARSER.renderInline(escape.code(outside))
    match = re.fullmatch(r"<code>(.*)</code>", made, re.DOTALL)
    assert match
    assert html.unescape(match[1]).strip() == shown(outside)


@given(MARKUP)
def test_escaped_text_stays_in_its_table_cell(outside: str) -> None:
    table = PARSER.render(f"| a | b |\n|---|---|\n| {escape.text(outside)} | **1.0** |\n")
    assert table.count("<td>") == 2
    assert table.count("<strong>1.0</strong>") == 1


@pytest.mark.parametrize(
    "address", ["http://a.example", "https://a.example", "www.a.example", "me@a.example"]
)
def test_an_address_is_broken_up_so_that_no_renderer_links_it(address: str) -> None:
    assert address not in escape.text(address)


@pytest.mark.parametrize("plain", ["~50 to ~48", "grad_norm", "1.24 -> 0.67", "2 d 5 h (60%)", "a/b.pth"])
def test_ordinary_words_and_numbers_stay_readable(plain: str) -> None:
    assert escape.text(plain) == plain


@given(MARKUP, MARKUP)
@example("a*b_c ~50", "`x\\*`")
@example("[2][6/6] root@vm \\[", "\\d")
def test_in_plain_text_it_reads_as_it_was(outside: str, name: str) -> None:
    written = f"- {escape.text(outside)} {escape.code(name)}: {escape.text(outside)}\n"
    assert escape.plain(written) == f"- {shown(outside)} {escape.code(name)}: {shown(outside)}\n"
