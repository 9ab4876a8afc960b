"""`.snakemake` is removed while a job runs: what it trained counts, and nothing is trained twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from slurm.toy_workflow import Toy

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def toy(toy: Toy) -> Toy:
    toy.seconds = 12
    return toy


def test_under_a_living_controller(toy: Toy) -> None:
    """The job writes its result all the same."""
    controller = toy.write().start()
    toy.first_training()
    shutil.rmtree(toy.folder / ".snakemake")
    assert controller.wait(timeout=120) == 0, toy.said()
    assert len(toy.job_ids()) == 2


def test_and_the_controller_killed(toy: Toy) -> None:
    """The next one does not train beside it, and says what to run."""
    controller = toy.write().start()
    job = toy.first_training()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    toy.rig.scontrol("suspend", str(job))  # it must live until the next controller has looked
    shutil.rmtree(toy.folder / ".snakemake")
    assert toy.run() != 0
    assert toy.job_ids() == [str(job)]
    assert f"first: job {job} does this work already, but its folder " in toy.said()
    assert f"Wait until the job has ended, or run: scancel {job}" in toy.said()


def test_a_moved_folder_and_its_live_job(toy: Toy) -> None:
    """Nothing is trained beside it, and the sentence says what to run."""
    inside = toy.folder / "inside"
    inside.mkdir()
    toy.folder = inside
    controller = toy.write().start()
    job = toy.first_training()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    toy.rig.scontrol("suspend", str(job))  # it must live until the next controller has looked
    toy.folder = inside.rename(inside.with_name("moved"))
    toy.unlock()
    assert toy.run() != 0
    assert toy.job_ids() == [str(job)]
    assert f"job {job} does this work already, but its folder {inside} is gone" in toy.said()


def test_a_folder_by_another_path_and_its_live_job(toy: Toy) -> None:
    """As of a bind mount: the job is followed, and nothing is trained twice."""
    one, other = toy.folder / "one", toy.folder / "other"
    one.mkdir()
    other.mkdir()
    mounted = subprocess.run(["mount", "--bind", one, other], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this user may not mount: {mounted.stderr.strip()}")
    try:
        toy.folder = one
        controller = toy.write().start()
        job = toy.first_training()
        os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
        _by(toy, other)
        assert f"job {job} found alive; following it" in toy.said()
        assert toy.job_ids()[0] == str(job)
        assert len(toy.job_ids()) == 2
    finally:
        subprocess.run(["umount", other], check=True)


def _by(toy: Toy, path: Path) -> None:
    toy.folder = path
    toy.unlock()
    assert toy.run() == 0, toy.said()
