"""What every trainer kind shares: numbers as trainers print them."""

from __future__ import annotations

import math

import pytest

from trainrelay.trainers.base import printed_number


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.5", 1.5), ("tensor(7.29,", 7.29), ("tensor(7.29)", 7.29), ("None", None), ("0.5%", None)],
)
def test_what_is_no_number_is_not_taken_for_nan(text: str, value: float | None) -> None:
    """A loss that is printed in a way of its own must not end a healthy training as diverged."""
    assert printed_number(text) == value
    assert math.isnan(printed_number("nan") or 0.0)
