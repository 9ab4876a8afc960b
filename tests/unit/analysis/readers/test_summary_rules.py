"""A summary between rules, as the keypoint system prints it at its head."""

from __future__ import annotations

import math

import pytest

from trainrelay.analysis.readers.summaries import SummaryReader

TEXT = """\
================
Epoch 2 Summary:
================
  Train Loss (final layer):   3.1757
    - Class Loss:             1.4026

  Val Loss (final layer):     2.3266
  Val PCK@0.2:                12.50%
================

  → No improvement in PCK for 1 epoch(s)
     Current PCK: 0.1250
"""


def test_a_rule_does_not_end_a_summary() -> None:
    reader = SummaryReader()
    found = [one for line in TEXT.splitlines(keepends=True) for one in reader.line(line)]
    assert [(one.number, one.phase, one.name, one.value) for one in found] == [
        (2, "train", "loss", 3.1757),
        (2, "train", "class_loss", 1.4026),
        (2, "val", "loss", 2.3266),
        (2, "val", "pck@0.2", 12.5),
    ]


@pytest.mark.parametrize("printed", ["nan", "NaN", "Inf", "-Infinity"])
def test_a_loss_that_is_no_finite_number_is_read_however_it_is_spelled(printed: str) -> None:
    (said,) = SummaryReader().line(f"Epoch 3: Train Loss: {printed}")
    assert not math.isfinite(said.value)
