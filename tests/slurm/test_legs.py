"""A job as an array of legs, of which one runs at a time: what a leg's end means for the others."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from slurm.rig import wait_for
from slurm.rig.rig import ENDED
from slurm.toy_workflow import EIGHT, Toy

pytestmark = pytest.mark.slow

LEGS = f"{EIGHT}, slurm_legs=4"
STUBBORN = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("events", "a") as file:
    file.write("first 0 starts at 0.0\\n")
time.sleep(600)
"""


@pytest.fixture
def toy(toy: Toy, tmp_path: Path) -> Toy:
    toy.folder = tmp_path / "a  'ü,x"
    toy.folder.mkdir()
    toy.first = LEGS
    return toy


def tasks(toy: Toy) -> dict[str, tuple[str, str]]:
    """State and restarts of each task of the newest array; `rest`: what never ran."""
    rows = toy.rig.squeue(fields="ArrayJobID,ArrayTaskID,State,RestartCnt")
    newest = max((row["ArrayJobID"] for row in rows if row["ArrayTaskID"].isdigit()), key=int)
    return {
        row["ArrayTaskID"] if row["ArrayTaskID"].isdigit() else "rest": (row["State"], row["RestartCnt"])
        for row in rows
        if row["ArrayJobID"] == newest
    }


def array(toy: Toy) -> str:
    """Of the leg that runs."""
    rows = toy.rig.squeue(fields="ArrayJobID,ArrayTaskID,State")
    return next(
        row["ArrayJobID"] for row in rows if row["ArrayTaskID"].isdigit() and row["State"] not in ENDED
    )


def none_left(toy: Toy) -> None:
    def ended() -> bool:
        return all(row["State"] in ENDED for row in toy.rig.squeue(fields="JobID,State"))

    wait_for(ended, "the end of every leg", 20)


def starts(toy: Toy) -> list[float]:
    """Where each start of the first training began."""
    return [float(event.split()[-1]) for event in toy.events() if event.startswith("first") and "at" in event]


def warn(toy: Toy, leg: int) -> None:
    """As Slurm does near the time limit, once this leg trains."""
    job = toy.wait_for("first", times=2 * leg - 1)[1]
    time.sleep(1.5)
    toy.rig.warn(job)


def test_a_warned_leg_ends_and_the_next_one_continues(toy: Toy) -> None:
    """Nothing is requeued, and when the training is done the legs that are left are cancelled."""
    controller = toy.write().start()
    warn(toy, 1)
    assert controller.wait(timeout=90) == 0, toy.said()
    assert len(starts(toy)) == 2
    assert starts(toy)[1] > 0
    assert len(toy.job_ids()) == 3
    assert tasks(toy) == {
        "1": ("COMPLETED", "0"), "2": ("COMPLETED", "0"), "rest": ("CANCELLED", "0"),
    }  # fmt: skip
    none_left(toy)


@pytest.mark.long
def test_a_limit_on_jobs_below_the_legs_is_not_waited_for(toy: Toy) -> None:
    """Fewer are submitted, and the training is done by them."""
    with toy.rig.limited_to(3):
        controller = toy.write().start()
        warn(toy, 1)
        assert controller.wait(timeout=90) == 0, toy.said()
    assert "submitted with 2 of 4 legs: a limit on submitted jobs" in toy.said()
    assert tasks(toy) == {"1": ("COMPLETED", "0"), "2": ("COMPLETED", "0")}
    assert len(starts(toy)) == 2


@pytest.mark.long
def test_a_leg_that_fails_ends_the_rest(toy: Toy) -> None:
    controller = toy.write().start()
    toy.first_training()
    (toy.folder / "work.py").write_text("raise SystemExit(3)", encoding="utf-8")
    warn(toy, 1)
    assert controller.wait(timeout=90) != 0
    assert "its command ended with exit status" in toy.said()
    assert {leg: state for leg, (state, _) in tasks(toy).items()} == {
        "1": "COMPLETED", "2": "COMPLETED", "rest": "CANCELLED",
    }  # fmt: skip
    none_left(toy)


@pytest.mark.long
def test_a_setup_that_fails_ends_the_rest(toy: Toy) -> None:
    toy.first = f"{LEGS}, slurm_setup='false'"
    assert toy.write().run() != 0
    assert "its log says more" in toy.said(), toy.said()
    assert tasks(toy) == {"1": ("FAILED", "0"), "rest": ("CANCELLED", "0")}


@pytest.mark.long
@pytest.mark.parametrize("leg", [1, 4])
def test_a_stopped_controller_leaves_no_leg(toy: Toy, leg: int) -> None:
    """One runs and the rest wait, or it is the last one; the next controller resumes with another array."""
    toy.seconds = 4 * leg + 4
    controller = toy.write().start()
    for number in range(1, leg):
        warn(toy, number)
    toy.wait_for("first", times=2 * leg - 1)
    time.sleep(1.5)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(timeout=60) != 0
    assert toy.events()[-1].endswith("saved")
    none_left(toy)
    assert toy.run() == 0, toy.said()
    assert starts(toy)[-1] > 0
    assert len(starts(toy)) == leg + 1


@pytest.mark.long
@pytest.mark.parametrize("leg", [1, 2])
def test_a_killed_controller_finds_the_array_again(toy: Toy, leg: int) -> None:
    """Whichever leg runs; and without any controller the legs follow each other."""
    toy.seconds = 20
    controller = toy.write().start()
    if leg == 2:
        warn(toy, 1)
        toy.wait_for("first", times=3)
    job = array(toy) if toy.first_training() else ""
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    toy.unlock()
    if leg == 1:
        warn(toy, 1)
        toy.wait_for("first", times=3)
    assert toy.run() == 0, toy.said()
    assert f"first: job {job} found alive" in toy.said()
    assert len(starts(toy)) == 2
    none_left(toy)


@pytest.mark.long
def test_a_training_that_is_done_ends_the_rest_without_a_controller(toy: Toy) -> None:
    controller = toy.write().start()
    toy.first_training()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    toy.wait_for("done")
    wait_for(lambda: len(tasks(toy)) == 2 and tasks(toy)["1"][0] == "COMPLETED", "the leg's end")
    none_left(toy)


@pytest.mark.long
def test_a_scancel_of_the_array_ends_it_and_of_one_leg_that_leg(toy: Toy) -> None:
    toy.seconds = 60
    controller = toy.write().start()
    toy.first_training()
    job = array(toy)
    toy.rig.scancel(f"{job}_1")
    toy.wait_for("first", times=3)
    time.sleep(4)
    assert controller.poll() is None, toy.said()
    assert starts(toy)[1] > 0
    toy.rig.scancel(job)
    assert controller.wait(timeout=60) != 0
    assert "cancelled from outside" in toy.said()
    assert len(starts(toy)) == 2
    none_left(toy)


@pytest.mark.long
def test_a_scancel_between_two_legs_is_one(toy: Toy) -> None:
    """The leg before has completed, without a result."""
    toy.seconds = 60
    controller = toy.write().start()
    toy.first_training()
    job = array(toy)
    toy.rig.scontrol("hold", job)
    warn(toy, 1)
    wait_for(lambda: tasks(toy)["1"][0] == "COMPLETED", "the end of the leg")
    toy.rig.scancel(job)
    assert controller.wait(timeout=60) != 0
    assert "cancelled from outside" in toy.said()
    assert len(starts(toy)) == 1


@pytest.mark.long
@pytest.mark.parametrize("partition", ["gpu", "nograce"])
def test_a_preempted_leg_is_requeued(toy: Toy, partition: str) -> None:
    """It waits for its turn beside the others; the training continues in one of them."""
    toy.first = f"{LEGS}, slurm_partition='{partition}'"
    controller = toy.write().start()
    toy.first_training()
    toy.rig.sbatch("--partition=urgent", "--gres=gpu:a40:8", "--output=/dev/null", "--wrap=sleep 3")
    toy.wait_for("first", times=3, timeout_s=120)
    assert "Restarts=1 " in toy.rig.scontrol("show", "job", f"{array(toy)}_1", "--oneliner")
    assert controller.wait(timeout=120) == 0, toy.said()
    assert starts(toy)[1] > 0
    none_left(toy)


@pytest.mark.long
def test_a_last_leg_that_is_not_enough_requeues_itself(toy: Toy) -> None:
    toy.first, toy.seconds = f"{EIGHT}, slurm_legs=2", 10
    controller = toy.write().start()
    warn(toy, 1)
    warn(toy, 2)
    toy.wait_for("first", times=5)
    assert tasks(toy) == {"1": ("COMPLETED", "0"), "2": ("RUNNING", "1")}
    assert controller.wait(timeout=90) == 0, toy.said()
    assert len(starts(toy)) == 3


@pytest.mark.long
def test_legs_that_slurm_kills_at_their_limit_are_followed_by_another_array(toy: Toy) -> None:
    """Before anything is saved, by a command that hears no signal."""
    toy.first = f"{EIGHT.replace('runtime=20', 'runtime=1')}, slurm_legs=2"
    controller = toy.write().start()
    (toy.folder / "work.py").write_text(STUBBORN, encoding="utf-8")
    toy.wait_for("starts", times=2, timeout_s=180)
    assert {leg: state for leg, (state, _) in tasks(toy).items()} == {"1": "TIMEOUT", "2": "RUNNING"}
    toy.wait_for("starts", times=3, timeout_s=240)
    assert "will be resubmitted: Slurm ended it: TIMEOUT" in toy.said()
    controller.send_signal(signal.SIGINT)
    time.sleep(1)
    controller.send_signal(signal.SIGINT)
    controller.wait(timeout=60)
    none_left(toy)


@pytest.mark.long
def test_a_time_limit_is_reached_by_a_leg_that_saves(toy: Toy) -> None:
    toy.first, toy.seconds = f"{EIGHT.replace('runtime=20', 'runtime=1')}, slurm_legs=6", 70
    assert toy.write().run() == 0, toy.said()
    assert starts(toy) == sorted(starts(toy))
    assert len(starts(toy)) > 1
    assert {restarts for _, restarts in tasks(toy).values()} == {"0"}
    none_left(toy)
