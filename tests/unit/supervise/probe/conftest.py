"""A stage to probe."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.probing import probe_request
from trainrelay.trainers import LaunchRequest


@pytest.fixture
def asked(tmp_path: Path) -> LaunchRequest:
    """Two ranks on the CPU, in a checkout with a nasty name."""
    return probe_request(tmp_path / "check out ü")
