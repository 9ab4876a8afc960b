"""Steps, batches, time and memory as ranks count them, with real optimizers, scalers and data loaders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainrelay.supervise.hangs import with_stack_dumps
from trainrelay.supervise.hook import Hook
from trainrelay.supervise.telemetry import RankTelemetry
from trainrelay_hook import files

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("hook")]

TRAINER = Path(__file__).parents[2] / "support" / "counted_steps.py"


@pytest.fixture(scope="module", params=["hooks", pytest.param("old", marks=pytest.mark.long)])
def counted(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[dict[str, list[float]], RankTelemetry]:
    """What was counted by case, and the last report."""
    folder = tmp_path_factory.mktemp("counted")
    hook = Hook(folder, 1)
    env = with_stack_dumps({**os.environ, "RANK": "0", "MEET": str(folder / "meet"), "OMP_NUM_THREADS": "1"})
    done = subprocess.run(
        [sys.executable, str(TRAINER), request.param],
        env=hook.switched(env, on=True),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (report,) = hook.each(files.TELEMETRY, RankTelemetry)
    return json.loads(done.stdout), report


@pytest.mark.parametrize(
    ("case", "steps", "batches"),
    [
        *(("plain", 5, 0), ("super", 5, 0), ("zero", 5, 0), ("in turn", 5, 0), ("failing", 5, 0)),
        *(("one after the other", 9, 0), ("scaled", 3, 0), ("fused", 3, 0), ("epochs", 4, 16)),
    ],
)
def test_steps_are_counted_once_and_skipped_ones_not(
    counted: Any, case: str, steps: int, batches: int
) -> None:
    """Nested, several or failing optimizers, and those that a loss scaler skips or calls to skip."""
    assert counted[0][case] == [steps, batches]


def test_a_report_has_time_memory_and_the_place_in_the_data(counted: Any) -> None:
    """Two passes over the data; an evaluation in their midst is none."""
    found, report = counted
    assert report.steps == sum(steps for steps, _ in found.values())
    assert (report.batches, report.passes, report.iteration, report.iterations) == (16, 2, 4, 4)
    assert not report.waiting
    assert 1e7 < report.memory_bytes < 1e11
    assert 0 <= report.data_s <= report.step_s < 1
