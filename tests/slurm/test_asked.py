"""What a user's own defaults for Slurm's commands change of our questions: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slurm.rig import Rig, wait_for
from trainrelay.slurm.steps import Steps
from trainrelay.supervise.lease.acquisition import slurm_answer

pytestmark = pytest.mark.process

STEP = "trainrelay:r/s"
DEFAULTS = {
    "SQUEUE_PARTITION": "urgent",
    "SQUEUE_STATES": "PENDING",
    "SACCT_FORMAT": "JobName",
    "SCANCEL_STATE": "PENDING",
    "SCANCEL_PARTITION": "urgent",
}


@pytest.fixture
def job(clean_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A job with a living step, seen by a user who looks at another partition as a rule."""
    command = f"--wrap=srun --job-name={STEP} sleep 600"
    job = clean_rig.sbatch("--partition=gpu", "--time=10", "--output=/dev/null", command)
    for name, value in {**clean_rig.environment(), **DEFAULTS}.items():
        monkeypatch.setenv(name, value)
    wait_for(lambda: steps_of(clean_rig, job), "the step")
    yield job
    monkeypatch.undo()
    clean_rig.heal()


def steps_of(rig: Rig, job: int) -> list[str]:
    """Its living steps that srun started."""
    said = rig.run("squeue", "--steps", f"--jobs={job}", "-h", "--format=%j").stdout
    return [name for name in said.split() if name == STEP]


def test_a_living_step_is_found_and_ended_whatever_the_user_lists_as_a_rule(clean_rig: Rig, job: int) -> None:
    """One that is not listed counts as ended, and a second training would start over it."""
    assert slurm_answer(str(job)) == "running"
    steps = Steps(str(job), STEP)
    assert steps.ids() == [f"{job}.0"]
    assert steps.kill(30.0) == ()
    assert steps_of(clean_rig, job) == []
