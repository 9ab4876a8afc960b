"""The submitit executor on a real Slurm: jobs end, are cancelled, requeued, lost, and found again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.rig import Rig, wait_for
from slurm.toy_workflow import EIGHT, Toy

pytestmark = pytest.mark.slow


@pytest.fixture
def toy(clean_rig: Rig, tmp_path: Path) -> Iterator[Toy]:
    toy = Toy(clean_rig, tmp_path)
    yield toy
    toy.end()
    clean_rig.heal()


def live_jobs(rig: Rig) -> list[str]:
    ended = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "NODE_FAIL"}
    return [job["JobID"] for job in rig.squeue(fields="JobID,State") if job["State"] not in ended]


def resumed(toy: Toy) -> list[float]:
    """Where each start of the first training began."""
    return [
        float(event.split()[-1]) for event in toy.events() if event.startswith("first") and "starts" in event
    ]


@pytest.mark.long
def test_two_stages_train_one_after_the_other_on_eight_gpus(toy: Toy) -> None:
    """Both jobs complete, and accounting shows eight A40s for each."""
    assert toy.write().run() == 0, toy.said()
    assert [event.split()[0] for event in toy.events()] == ["first", "first", "second", "second"]
    rows = [toy.rig.sacct(int(job), "State,AllocTRES")[0] for job in toy.job_ids()]
    assert len(rows) == 2
    assert all(row["State"] == "COMPLETED" and "gres/gpu:a40=8" in row["AllocTRES"] for row in rows)


def test_a_group_is_one_job(toy: Toy) -> None:
    """Two rules of one group run in one allocation that asks for the GPUs once."""
    assert toy.write().run("--groups", "first=chain", "second=chain", "--group-components", "chain=2") == 0, (
        toy.said()
    )
    (job,) = toy.job_ids()
    assert "gres/gpu:a40=8" in toy.rig.sacct(int(job), "AllocTRES")[0]["AllocTRES"]


def test_a_scancel_from_outside_ends_the_job(toy: Toy) -> None:
    """The training hears of it and saves; the controller says so and does not submit it again."""
    toy.seconds = 120
    controller = toy.write().start()
    job = toy.first_training()
    toy.rig.scancel(str(job))
    began_s = time.monotonic()
    assert controller.wait(timeout=60) != 0
    assert time.monotonic() - began_s < 20, "two polls of 3 s, and the end of the job itself"
    assert "cancelled from outside" in toy.said()
    assert toy.events()[-1].endswith("saved")
    assert toy.job_ids() == [str(job)]
    assert live_jobs(toy.rig) == []


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_controller_leaves_no_job(toy: Toy, signum: signal.Signals) -> None:
    """The training saves and ends, is not requeued, and the next controller goes on from there."""
    toy.seconds = 12
    controller = toy.write().start()
    job = toy.first_training()
    controller.send_signal(signum)
    assert controller.wait(timeout=60) != 0
    assert toy.events()[-1].endswith("saved")
    wait_for(lambda: live_jobs(toy.rig) == [], "no job to be left")
    assert toy.job_ids() == [str(job)]
    assert toy.run() == 0, toy.said()
    assert resumed(toy)[1] > 0


def test_a_waiting_job_is_cancelled_with_its_controller(toy: Toy) -> None:
    """Nothing to save: the controller ends at once."""
    toy.first = f"{EIGHT}, slurm_extra='--begin=now+1hour'"
    controller = toy.write().start()
    wait_for(lambda: len(live_jobs(toy.rig)) == 1, "the job to wait")
    time.sleep(1)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(timeout=30) != 0
    assert live_jobs(toy.rig) == []
    assert toy.events() == []


@pytest.mark.parametrize("direct", [pytest.param((), marks=pytest.mark.long), ("--submitit-direct",)])
def test_what_a_job_did_while_there_was_no_controller_is_done(toy: Toy, direct: tuple[str, ...]) -> None:
    """The next controller does not take its output for incomplete, with a Snakemake in the job or without."""
    toy.options, toy.seconds = direct, 3
    controller = toy.write().start()
    job = toy.first_training()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    wait_for(lambda: live_jobs(toy.rig) == [], "the end of the job")
    toy.unlock()
    assert toy.run() == 0, toy.said()
    assert [event.split()[0] for event in toy.events()] == ["first", "first", "second", "second"]
    assert toy.job_ids()[0] == str(job)


@pytest.mark.long
def test_a_killed_controller_finds_its_job_again(toy: Toy) -> None:
    """One job in accounting: the relaunched controller follows the live one to its end."""
    toy.seconds = 20
    controller = toy.write().start()
    job = toy.first_training()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    toy.unlock()
    assert toy.run() == 0, toy.said()
    assert f"first: job {job} found alive" in toy.said()
    assert resumed(toy) == [0.0]
    assert len(toy.job_ids()) == 2


@pytest.mark.long
def test_a_requeue_from_outside_goes_on_under_its_id(toy: Toy) -> None:
    """scontrol requeue: the same job id trains on from what was saved."""
    controller = toy.write().start()
    job = toy.first_training()
    toy.rig.scontrol("requeue", str(job))
    assert controller.wait(timeout=120) == 0, toy.said()
    assert toy.job_ids()[0] == str(job)
    assert len(toy.job_ids()) == 2
    assert resumed(toy)[1] > 0


@pytest.mark.long
@pytest.mark.parametrize("partition", ["gpu", "nograce"])
def test_a_preempted_job_goes_on_under_its_id(toy: Toy, partition: str) -> None:
    """With a time of grace and without one: the same job id trains on from what was saved."""
    toy.first = f"{EIGHT}, slurm_partition='{partition}'"
    controller = toy.write().start()
    job = toy.first_training()
    toy.rig.sbatch("--partition=urgent", "--gres=gpu:a40:8", "--output=/dev/null", "--wrap=sleep 3")
    assert controller.wait(timeout=180) == 0, toy.said()
    assert toy.job_ids()[0] == str(job)
    assert len(toy.job_ids()) == 2
    assert resumed(toy)[1] > 0


@pytest.mark.long
def test_a_preempted_job_that_may_not_be_requeued_is_submitted_again(toy: Toy) -> None:
    """A fresh job goes on from what was saved, by itself."""
    toy.first = f"{EIGHT}, slurm_extra='--no-requeue'"
    controller = toy.write().start()
    job = toy.first_training()
    toy.rig.sbatch("--partition=urgent", "--gres=gpu:a40:8", "--output=/dev/null", "--wrap=sleep 3")
    assert controller.wait(timeout=180) == 0, toy.said()
    assert toy.job_ids()[0] == str(job)
    assert len(toy.job_ids()) == 3
    assert resumed(toy)[1] > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("slurm_partition='nowhere'", "invalid partition"),
        ("slurm_account='nobody'", "Invalid account"),
        ("gpu=9, gpu_model='a40'", "Requested node configuration is not available"),
        ("gpus=8, gpu_model='a40'", "write gpu=8, gpu_model=a40"),
    ],
)
def test_a_refused_job_ends_in_a_sentence(toy: Toy, asked: str, said: str) -> None:
    """The controller says why and ends; nothing runs, and there is no traceback."""
    toy.first = asked
    assert toy.write().run("--keep-going") != 0
    assert said in toy.said()
    assert "Traceback" not in toy.said()
    assert toy.events() == []


@pytest.mark.long
def test_a_restarted_slurmctld_ends_nothing(toy: Toy) -> None:
    """While nobody answers no job is given up, and the training completes."""
    toy.seconds = 25
    controller = toy.write().start()
    toy.first_training()
    toy.rig.stop("slurmctld")
    time.sleep(12)
    toy.rig.start("slurmctld")
    assert controller.wait(timeout=240) == 0, toy.said()
    assert resumed(toy) == [0.0]


@pytest.mark.long
def test_a_lost_node_without_requeue_is_submitted_again(toy: Toy) -> None:
    """NODE_FAIL is seen, and a fresh job goes on once the node is back."""
    toy.seconds = 40
    toy.first = f"{EIGHT}, slurm_extra='--no-requeue'"
    controller = toy.write().start()
    job = toy.first_training()
    node = toy.rig.booted().nodes[0]
    toy.rig.stop(f"slurmd.{node}", kill=True)
    wait_for(lambda: toy.rig.state(job) == "NODE_FAIL", f"job {job} to fail with its node", 120)
    toy.rig.start(f"slurmd.{node}")
    assert controller.wait(timeout=240) == 0, toy.said()
    assert "NODE_FAIL" in toy.said()
    assert len(resumed(toy)) == 2


@pytest.mark.long
def test_a_suspended_job_runs(toy: Toy) -> None:
    """scontrol suspend and resume: followed on, to its end."""
    controller = toy.write().start()
    job = toy.first_training()
    toy.rig.scontrol("suspend", str(job))
    time.sleep(10)
    toy.rig.scontrol("resume", str(job))
    assert controller.wait(timeout=120) == 0, toy.said()
    assert resumed(toy) == [0.0]


def test_ctrl_c_twice_does_not_wait(toy: Toy) -> None:
    """A command that does not hear is ended by scancel, without its grace of two minutes."""
    toy.write()
    (toy.folder / "work.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open('events', 'a').write('first 0 deaf\\n')\ntime.sleep(600)\n",
        encoding="utf-8",
    )
    controller = toy.start()
    toy.wait_for("deaf")
    controller.send_signal(signal.SIGINT)
    wait_for(lambda: "Ctrl-C again" in toy.said(), "the controller to wait")
    time.sleep(1)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(timeout=60) != 0
    wait_for(lambda: live_jobs(toy.rig) == [], "no job to be left")


@pytest.mark.long
def test_accounting_that_is_away_ends_nothing(toy: Toy) -> None:
    """Without slurmdbd squeue and the result files tell the end."""
    controller = toy.write().start()
    toy.first_training()
    toy.rig.stop("slurmdbd")
    assert controller.wait(timeout=120) == 0, toy.said()
    toy.rig.start("slurmdbd")


@pytest.mark.long
def test_a_time_limit_is_passed_in_as_many_legs_as_it_takes(toy: Toy) -> None:
    """Warned, saved, requeued under the same id; nothing is trained twice."""
    toy.seconds = 50
    toy.first = 'gpu=8, gpu_model="a40", mem_mb=2000, runtime=1'
    assert toy.write().run() == 0, toy.said()
    starts = resumed(toy)
    assert len(starts) >= 2
    assert starts == sorted(set(starts))
    assert len(toy.job_ids()) == 2
