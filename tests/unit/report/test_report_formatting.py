"""Numbers and times as people read them."""

from __future__ import annotations

import math

import pytest

from trainrelay.report import formatting


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (105.67, "105.67"),
        (0.064, "0.064"),
        (0.03, "0.03"),
        (0.0, "0.0"),
        (-1.3, "-1.30"),
        (2e-5, "2e-5"),
        (3.4028e38, "3.403e38"),
        (math.nan, "NaN"),
        (-math.inf, "-Inf"),
    ],
)
def test_a_loss_has_two_decimals_or_as_many_as_it_needs(value: float, expected: str) -> None:
    assert formatting.number(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (3.21, "3.2 s"),
        (46.7, "47 s"),
        (59.96, "60 s"),
        (3600, "1 h"),
        (5 * 3600 + 46 * 60 + 3, "5 h 46 min"),
        (2 * 86400 + 59, "2 d"),
        (math.nan, "unknown"),
        (-1, "unknown"),
    ],
)
def test_a_duration_shows_its_two_largest_units(seconds: float, expected: str) -> None:
    assert formatting.duration(seconds) == expected


@pytest.mark.parametrize("seconds", [1e300, math.nan, math.inf, -1e300])
def test_a_time_outside_the_calendar_is_unknown(seconds: float) -> None:
    assert formatting.utc(seconds) == "unknown"


def test_times_are_in_utc_whatever_the_machine_thinks() -> None:
    assert formatting.utc(1_767_600_000) == "2026-01-05 08:00 UTC"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (2.0, 1.0, -0.5),
        (0.0, 1.0, None),
        (4.0, -1.0, None),
        (math.nan, 1.0, None),
        (1.0, 3.4e38, None),
        (1e-300, 1e30, None),
    ],
)
def test_a_change_is_relative_only_where_that_says_something(
    first: float, last: float, expected: float | None
) -> None:
    assert formatting.relative_change(first, last) == expected


@pytest.mark.parametrize(
    ("outside", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x00b", r"a\x00b"),
        ("gnp\u202eexe", r"gnp\u202eexe"),
        ("\udcff", r"\udcff"),
        ("two\r\nlines", "two\nlines"),
        ("ü → 日本", "ü → 日本"),
    ],
)
def test_of_outside_text_an_escape_shows_what_cannot_be_shown_as_itself(outside: str, expected: str) -> None:
    assert formatting.clean(outside) == expected


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (None, "none"),
        (True, "yes"),
        (0.123456, "0.1235"),
        (12, "12"),
        ([1, 2.5], "1, 2.5"),
        ({"a": 1}, "a = 1"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_evidence_of_any_type_is_short_text(thing: object, expected: str) -> None:
    assert formatting.value(thing) == expected
