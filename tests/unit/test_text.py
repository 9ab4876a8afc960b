"""Text from outside: secrets are hidden in it, and nothing in it moves a cursor. Sparklines."""

from __future__ import annotations

import json
import math
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainrelay.text import (
    MAX_EVIDENCE_CHARS,
    hidden,
    is_secret,
    kept_secret,
    masked,
    printable,
    printable_lines,
    quoted,
    sparkline,
)


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "wandb_api_key", "DB_PASSWORD", "PASSWD", "MY_CREDENTIALS"],
)
def test_a_variable_says_by_its_name_that_it_is_secret(name: str) -> None:
    assert is_secret(name)
    assert masked({name: "x"}) == {name: "***"}


def test_other_variables_stay_readable() -> None:
    env = {"NCCL_DEBUG": "WARN", "NCCL_IB_DISABLE": "1", "OMP_NUM_THREADS": "4", "MASTER_PORT": "29500"}
    assert masked(env) == env


def test_a_secret_is_found_again_in_other_text() -> None:
    env = {"A_TOKEN": "tok-4711-a", "URL": "https://me:tok-4711-a@host"}
    assert kept_secret(env) is env
    assert masked(env)["URL"] == "https://me:***@host"
    assert quoted("401: bad tok-4711-a") == "401: bad ***"
    assert printable_lines("1 tok-4711-a\n2 tok-4711-a") == "1 ***\n2 ***"


def test_of_two_secrets_the_longer_is_hidden_whole_and_of_a_long_one_each_line() -> None:
    kept_secret(
        {"A_TOKEN": "begin-4711", "B_TOKEN": "begin-4711-end", "C_KEY": "first-line-4711\nlast-line-4711\n"}
    )
    assert hidden("begin-4711-end") == "***"
    assert hidden("> last-line-4711") == "> ***"


def test_a_secret_that_a_quote_would_cut_is_hidden_whole() -> None:
    kept_secret({"A_TOKEN": "cut-4711-token"})
    assert "cut" not in quoted("x" * (MAX_EVIDENCE_CHARS - 5) + "cut-4711-token")


def test_what_any_text_may_hold_and_a_path_to_a_secret_are_not_searched_for() -> None:
    kept_secret({"TOKENIZERS_PARALLELISM": "false", "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json"})
    assert hidden("false: /home/me/key.json") == "false: /home/me/key.json"


def test_a_secret_is_found_however_a_tool_spells_it() -> None:
    secret = 'it\'s-4711\\a "secret"\t/+='
    kept_secret({"A_PASSWORD": secret, "B_SECRET": "/+slash4711==", "C_KEY": "~tilde-4711"})
    for said in (repr(secret), json.dumps(secret), quote(secret), quote(secret, safe=""), f"{[secret]}"):
        assert "4711" not in hidden(said), said
    assert "4711" not in hidden("/+slash4711== ~tilde-4711")


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ("\x1b[2Jred", r"\x1b[2Jred"),
        ("\x9b31m", r"\x9b31m"),
        ("gnp.\u202eexe", r"gnp.\u202eexe"),
        ("\u2066a\u2069\u200e\u200f\u061c", r"\u2066a\u2069\u200e\u200f\u061c"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("half \udcff", r"half \udcff"),
        ("a\nb\r\tc", r"a\nb\r c"),
        ("Ü → 日本\u3000語 \U0001f600", "Ü → 日本\u3000語 \U0001f600"),
    ],
)
def test_what_would_move_the_cursor_is_shown_as_an_escape(outside: str, inside: str) -> None:
    assert printable(outside) == inside
    assert printable(inside) == inside


def test_of_all_characters_none_that_controls_a_terminal_is_left() -> None:
    shown = printable("".join(map(chr, range(0x110000))))
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp"}.intersection(map(unicodedata.category, shown))


def test_a_sparkline_goes_from_the_least_to_the_greatest():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([-1.7e308, 1.7e308, 0.0]) == "▁█▅"
    assert sparkline([2.0, 2.0]) == "▅▅"
    assert sparkline([]) == ""


def test_what_is_not_finite_is_marked_and_does_not_flatten_the_rest():
    assert sparkline([1.0, math.nan, 2.0, math.inf]) == "▁×█×"


@given(st.lists(st.floats(), max_size=60))
def test_every_value_gets_one_character(values):
    assert len(sparkline(values)) == len(values)
