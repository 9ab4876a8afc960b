"""What each run of a Slurm job did for a training."""

from __future__ import annotations

from support.attempts import an_attempt
from trainrelay.records import AttemptRecord, EndClass, SlurmRun
from trainrelay.training.attempts import legs


def attempt(number: int, run: SlurmRun | None, end: EndClass, resumed_epoch: int = 0) -> AttemptRecord:
    return an_attempt(number, resumed_epoch, slurm=run, end=end, last_epoch=resumed_epoch + 1)


def run(restarts: int, job_id: str = "7") -> SlurmRun:
    return SlurmRun(job_id=job_id, restarts=restarts, nodes="gpu01")


def test_each_run_of_a_job_is_a_leg_with_all_its_attempts() -> None:
    """A requeue begins another leg under the same job, a fresh submission under another."""
    attempts = [
        attempt(1, run(0), "comm"),
        attempt(2, run(0), "time-limit"),
        attempt(3, run(1), "preempted", 2),
        attempt(4, run(0, "8"), "done", 3),
    ]
    found = legs(attempts)
    assert [(leg.slurm.job_id, leg.slurm.restarts, leg.attempts, leg.end) for leg in found] == [
        ("7", 0, (1, 2), "time-limit"),
        ("7", 1, (3,), "preempted"),
        ("8", 0, (4,), "done"),
    ]
    assert [(leg.epochs_before, leg.last_epoch, leg.seconds) for leg in found] == [
        (0, 1, 150.0),
        (2, 3, 50.0),
        (3, 4, 50.0),
    ]


def test_what_was_trained_outside_of_slurm_has_no_legs() -> None:
    assert legs([attempt(1, None, "done")]) == ()
