"""The faults that are quick to play and that tests/workflow does not play anyway; `make faults` plays all."""

from __future__ import annotations

from pathlib import Path

import pytest

import faults.rows  # noqa: F401 (fills FAULTS)
from faults.fault import FAULTS
from faults.play import play

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainings")]


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.quick])
def test_a_fault_ends_as_it_must(name: str, tmp_path: Path) -> None:
    """The row of the table holds, and what holds for all rows does, too."""
    played = play(FAULTS[name], tmp_path / "my müddle project")
    assert played.missed is None, played.missed
