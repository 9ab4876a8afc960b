"""A controller that is stopped with jobs in every state: all end, and what runs saves first."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from slurm.rig import Rig, wait_for
from slurm.toy_workflow import Toy

pytestmark = pytest.mark.slow

# `ends` is being ended already, by a scancel from outside.
SNAKEFILE = """\
import sys

ASKED = {"running": "--nice=0", "ends": "--nice=0", "held": "--hold", "later": "--begin=now+1hour"}

rule all:
    input: expand("{name}.out", name=ASKED)

rule train:
    output: "{name}.out"
    resources:
        mem_mb=500,
        runtime=20,
        slurm_extra=lambda wildcards: ASKED[wildcards.name],
    shell: "exec {sys.executable} work.py {wildcards.name} 120 {output}"
"""


@pytest.fixture
def toy(toy: Toy) -> Toy:
    toy.write()
    (toy.folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    return toy


def four_jobs(toy: Toy) -> subprocess.Popen[bytes]:
    """Their controller. Two jobs run, one is held, one waits."""
    controller = toy.start()
    toy.wait_for("running")
    toy.wait_for("ends")
    wait_for(lambda: len(toy.rig.live()) == 4, "every job to be submitted")
    time.sleep(1)
    return controller


def stopped_well(toy: Toy, controller: subprocess.Popen[bytes]) -> None:
    """It waited for what runs, nothing is left, and nothing is left to do."""
    assert controller.wait(timeout=120) != 0
    said = toy.said()
    assert sorted(event.split()[0] for event in toy.events() if event.endswith("saved")) == [
        "ends",
        "running",
    ]
    assert "scancel" not in said, said
    assert "Traceback" not in said, said
    wait_for(lambda: toy.rig.live() == [], "the end of every job")


@pytest.mark.parametrize("signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_jobs_in_every_state_end_with_their_controller(toy: Toy, signum: signal.Signals) -> None:
    controller = four_jobs(toy)
    toy.rig.scancel(toy.wait_for("ends")[1])  # it saves now
    controller.send_signal(signum)
    stopped_well(toy, controller)
    assert "Waiting up to" in toy.said()


@pytest.mark.long
def test_slurm_that_does_not_answer_is_asked_again(toy: Toy) -> None:
    """What runs finds its cancel file meanwhile; what waits is cancelled once slurmctld is back."""
    controller = four_jobs(toy)
    toy.rig.stop("slurmctld")
    controller.send_signal(signal.SIGINT)
    wait_for(lambda: "Slurm does not answer" in toy.said(), "the controller to notice", 90)
    toy.rig.start("slurmctld")
    stopped_well(toy, controller)


@pytest.mark.long
def test_a_job_whose_folder_is_gone_ends_too(toy: Toy) -> None:
    """Its cancel file would be in there; without one it would requeue itself."""
    controller = four_jobs(toy)
    shutil.rmtree(toy.folder / ".snakemake/submitit")
    controller.send_signal(signal.SIGINT)
    stopped_well(toy, controller)


@pytest.mark.long
def test_a_suspended_job_is_named_at_once_and_saves_when_it_may(clean_rig: Rig, tmp_path: Path) -> None:
    """scancel would try for 95 s to signal it."""
    toy = Toy(clean_rig, tmp_path, seconds=120)
    controller = toy.write().start()
    job = toy.first_training()
    clean_rig.scontrol("suspend", str(job))
    controller.send_signal(signal.SIGINT)
    helps = f"to let it, run: scontrol resume {job}; to end it now: scancel {job}"
    wait_for(lambda: f"job {job} is suspended and cannot save; {helps}" in toy.said(), "what helps", 40)
    clean_rig.scontrol("resume", str(job))
    assert controller.wait(timeout=60) != 0
    assert toy.events()[-1].endswith("saved")
    wait_for(lambda: clean_rig.live() == [], "the end of the job")
