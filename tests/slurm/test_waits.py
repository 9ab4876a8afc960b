"""Jobs that never start by themselves: the controller's log says so once, with the command that helps."""

from __future__ import annotations

import time

import pytest

from slurm.rig import wait_for
from slurm.toy_workflow import EIGHT, Toy

pytestmark = pytest.mark.slow

OPEN = ("MaxTime=INFINITE", "MaxNodes=UNLIMITED", "State=UP")


@pytest.fixture
def toy(toy: Toy) -> Toy:
    toy.seconds = 1
    return toy


def waits(toy: Toy) -> str:
    """The id of the job that the log calls unable to start."""
    wait_for(lambda: "does not start" in toy.said(), "the warning", 60)
    (job,) = [row["JobID"] for row in toy.rig.squeue(fields="JobID,State") if row["State"] == "PENDING"]
    return job


def test_a_held_job_is_released_as_its_controller_says(toy: Toy) -> None:
    toy.first = f"{EIGHT}, slurm_extra='--hold'"
    toy.write().start()
    job = waits(toy)
    time.sleep(4)  # another poll
    assert toy.said().count(f"first: job {job} does not start: it is held; to let it start, run:") == 1
    toy.rig.scontrol("release", job)
    toy.wait_for("first")


@pytest.mark.long
@pytest.mark.parametrize(
    ("limit", "asked", "said"),
    [
        ("MaxTime=10", "", "its runtime is above its partition's limit; change that, then run: scancel"),
        ("MaxNodes=1", ", nodes=2", "it asks for more or fewer nodes than its partition gives to one job"),
        ("State=DOWN", "", "its partition is closed"),
        ("MaxTime=60", ", slurm_extra='--dependency=afterok:FAILED'", "it depends on a job that did not end"),
    ],
)
def test_what_can_never_start_is_said(toy: Toy, limit: str, asked: str, said: str) -> None:
    """And a scancel, as it says, ends the controller."""
    failed = toy.rig.sbatch("--output=/dev/null", "--chdir=/", "--wrap=exit 1")
    wait_for(lambda: toy.rig.state(failed) == "FAILED", "a job to fail")
    toy.first = EIGHT + asked.replace("FAILED", str(failed))
    toy.rig.scontrol("update", "PartitionName=gpu", limit)
    try:
        controller = toy.write().start()
        job = waits(toy)
        assert f"first: job {job} does not start: {said}" in toy.said()
        toy.rig.scancel(job)
        assert controller.wait(timeout=60) != 0
    finally:
        toy.rig.scontrol("update", "PartitionName=gpu", *OPEN)
