"""What is submitted is submitted once: answers that are lost, comments that a site rewrites, limits."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from slurm.rig import Rig, wait_for
from slurm.toy_workflow import EIGHT, Toy
from slurm.wrapped import asked_s, wrap

pytestmark = pytest.mark.slow

SITE = 'job.comment = "site:checked"'
REFUSED = "do return slurm.ERROR end"
LOST = (
    "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
)
# The first submission alone.
FIRST = 'mkdir "$HERE/first" 2>/dev/null'


@pytest.fixture
def toy(toy: Toy, tmp_path: Path) -> Toy:
    """In a folder whose name is as hostile as a path may be here."""
    toy.folder = tmp_path / "a |b  'ü,x"
    toy.folder.mkdir()
    toy.seconds = 1
    return toy


def wrapped(toy: Toy, lines: str) -> Path:
    """The controllers' sbatch runs these lines first; $REAL is Slurm's own."""
    folder = toy.folder.parent / "commands"
    path = toy.rig.environment()["PATH"]
    real = shutil.which("sbatch", path=path)
    toy.env["PATH"] = wrap(folder, "sbatch", f"REAL={real}\n{lines}", path)
    return folder


def later(seconds: int) -> str:
    """The first job appears in the queue so much later than sbatch says that it timed out."""
    submits = f'setsid sh -c \'sleep {seconds}; exec "$0" "$@"\' "$REAL" "$@" >/dev/null 2>&1 &'
    return f"if {FIRST}; then {submits} {LOST}; fi"


def submitted(toy: Toy) -> int:
    """How many jobs Slurm has had from this folder; its name is cut at a `|`."""
    folder = str(toy.folder).partition("|")[0].strip()
    return sum(job["WorkDir"] == folder for job in toy.rig.squeue(fields="JobID,WorkDir"))


def once(toy: Toy) -> None:
    """Two rules, two jobs, each command run once."""
    starts = [event.split()[0] for event in toy.events() if "starts" in event]
    assert starts == ["first", "second"], toy.events()
    assert len(toy.job_ids()) == 2


# ---------------------------------------------------------------------- an answer that is lost


def test_a_job_whose_submission_was_not_answered_is_found_when_it_appears(toy: Toy) -> None:
    """sbatch says that it timed out, and the job is in the queue 4 s later: it is that job that trains."""
    wrapped(toy, later(4))
    assert toy.write().run() == 0, toy.said()
    once(toy)
    assert "sbatch gave no answer, but it was submitted" in toy.said()


@pytest.mark.long
def test_a_slow_site_makes_no_second_job(toy: Toy) -> None:
    """The real thing: job_submit.lua takes longer than sbatch waits (MessageTimeout)."""
    slow = toy.folder.parent / "slow"
    slow.touch()
    with toy.rig.site_lua(f"if os.remove('{slow}') then os.execute('sleep 14') end"):
        assert toy.write().run() == 0, toy.said()
    assert "timed out" in toy.said()
    once(toy)
    assert len(toy.rig.live()) == 0


@pytest.mark.long
def test_a_submission_that_came_to_nothing_is_repeated(toy: Toy) -> None:
    """After 2 x MessageTimeout (10 s here) squeue lists no such job."""
    folder = wrapped(toy, f'date +%s.%N >>"$HERE/sbatch asked"; if {FIRST}; then {LOST}; fi')
    assert toy.write().run() == 0, toy.said()
    once(toy)
    first_s, second_s, *_ = asked_s(folder, "sbatch")
    assert second_s - first_s >= 20
    folders = list((toy.folder / ".snakemake/submitit/first").iterdir())
    assert len(folders) == 1, "nothing is left of the submission that came to nothing"


@pytest.mark.long
def test_a_killed_controller_that_had_no_answer_yet(toy: Toy) -> None:
    """The next one finds the job, which waits for what it is to run, and gives it that."""
    wrapped(toy, later(4))
    controller = toy.write().start()
    wait_for(lambda: "timed out" in toy.said(), "the answer to be lost")
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    wait_for(toy.rig.live, "the job to appear")
    toy.unlock()
    assert toy.run() == 0, toy.said()
    once(toy)


@pytest.mark.long
def test_ctrl_c_before_the_job_appears_leaves_no_job(toy: Toy) -> None:
    """It waits for the job that may still come, and ends it."""
    wrapped(toy, later(6))
    controller = toy.write().start()
    wait_for(lambda: "timed out" in toy.said(), "the answer to be lost")
    time.sleep(1)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(timeout=60) != 0
    wait_for(lambda: toy.rig.live() == [], "no job to be left", 20)
    assert submitted(toy) == 1, toy.said()
    assert toy.events() == []


@pytest.mark.long
@pytest.mark.parametrize(
    "said",
    [
        "echo 'quota: cannot be read' >&2; exit 1",
        "echo 'sbatch: error: quota cannot be read' >&2; exit 1",
        "exit 0",
        "kill -9 $$",
    ],
    ids=["unknown", "in its words", "nothing", "killed"],
)
def test_an_sbatch_that_submits_and_answers_oddly_has_submitted(toy: Toy, said: str) -> None:
    """A site's wrapper around it: the job is found in the queue and followed, and is the only one."""
    wrapped(toy, f'if {FIRST}; then "$REAL" "$@" >/dev/null; {said}; fi')
    assert toy.write().run() == 0, toy.said()
    once(toy)
    assert "sbatch gave no answer, but it was submitted" in toy.said()
    assert "manually" not in toy.said()


def test_a_number_in_what_a_site_says_is_no_job_of_ours(toy: Toy) -> None:
    """A hint names another job of the user: Ctrl-C ends the one that was submitted and leaves that."""
    held = held_job(toy.rig)
    wrapped(toy, f"echo 'Hint: your job {held} uses 3% of its memory'")
    toy.seconds = 30
    controller = toy.write().start()
    wait_for(toy.events, "the training to start")
    controller.send_signal(signal.SIGINT)
    assert controller.wait(timeout=60) != 0
    assert toy.rig.live() == [str(held)], toy.said()


# ---------------------------------------------------------------------- known again


def killed(toy: Toy) -> int:
    """The first training's job, whose controller was killed with SIGKILL; it is suspended, so it lives."""
    toy.seconds = 6
    controller = toy.write().start()
    job = toy.first_training()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    toy.rig.scontrol("suspend", str(job))
    toy.unlock()
    return job


def followed(toy: Toy, job: int) -> None:
    """The next controller finds the job, which then goes on and completes."""
    controller = toy.start()
    wait_for(lambda: f"first: job {job} found alive" in toy.said(), "the job to be found", 60)
    toy.rig.scontrol("resume", str(job))
    assert controller.wait(timeout=120) == 0, toy.said()
    once(toy)


@pytest.mark.long
def test_a_job_is_known_again_without_its_comment(toy: Toy) -> None:
    """A site rewrites each and lets nobody change it: the next controller follows the live job."""
    with toy.rig.site_lua(SITE, REFUSED):
        job = killed(toy)
        assert toy.rig.squeue(job, "Comment")[0]["Comment"] == "site:checked"
        followed(toy, job)


@pytest.mark.long
def test_a_comment_is_put_back_where_the_site_allows_that(toy: Toy) -> None:
    """At the first look at the queue."""
    toy.seconds = 12
    with toy.rig.site_lua(SITE):
        controller = toy.write().start()
        job = toy.first_training()
        ours = "snakemake-submitit/"
        wait_for(lambda: ours in toy.rig.squeue(job, "Comment")[0]["Comment"], "our comment", 20)
        assert controller.wait(timeout=120) == 0, toy.said()
    once(toy)


@pytest.mark.long
def test_another_folder_at_the_same_path_takes_no_job_over(toy: Toy) -> None:
    """The working folder was moved away and made again: the job that lives is not ours, and it is named."""
    job = killed(toy)
    toy.folder.rename(toy.folder.with_name("moved"))
    toy.folder.mkdir()
    assert toy.write().run() != 0
    assert f"job {job} does this work already" in toy.said()
    assert f"scancel {job}" in toy.said()
    assert toy.events() == []


@pytest.mark.long
def test_a_copy_of_a_folder_submits_its_own_jobs(toy: Toy) -> None:
    """With .snakemake and all that is in it, while the job of the first lives."""
    job = killed(toy)
    copy = Toy(toy.rig, toy.folder.with_name("copy"), seconds=1)
    shutil.copytree(toy.folder, copy.folder)
    (copy.folder / "events").unlink()
    copy.first = copy.second = "gpu=0, mem_mb=100, runtime=20, slurm_partition='both'"
    assert copy.write().run() == 0, copy.said()
    once(copy)
    assert str(job) not in copy.job_ids()
    followed(toy, job)


# ---------------------------------------------------------------------- limits


def held_job(rig: Rig) -> int:
    return rig.sbatch("--hold", "--output=/dev/null", "--chdir=/", "--wrap=true")


@pytest.mark.long
def test_a_limit_on_jobs_is_waited_for(toy: Toy) -> None:
    """One line says so; the job is submitted once the limit allows it, and the workflow completes."""
    held = held_job(toy.rig)
    with toy.rig.limited_to(1):
        controller = toy.write().start()
        wait_for(lambda: "AssocMaxSubmitJobLimit" in toy.said(), "the limit to be named")
        assert toy.rig.live() == [str(held)]
        toy.rig.scancel(str(held))
        assert controller.wait(timeout=120) == 0, toy.said()
    once(toy)
    assert toy.said().count("AssocMaxSubmitJobLimit") == 1, toy.said()
    assert len(list((toy.folder / ".snakemake/submitit/first").iterdir())) == 1


def test_ctrl_c_ends_the_wait_for_a_limit_at_once(toy: Toy) -> None:
    """Nothing was submitted, so nothing is waited for."""
    held = held_job(toy.rig)
    with toy.rig.limited_to(1):
        controller = toy.write().start()
        wait_for(lambda: "AssocMaxSubmitJobLimit" in toy.said(), "the limit to be named")
        time.sleep(1)
        began_s = time.monotonic()
        controller.send_signal(signal.SIGINT)
        assert controller.wait(timeout=60) != 0
        assert time.monotonic() - began_s < 15, "not the 20 s of an answer that was lost"
    assert toy.rig.live() == [str(held)]
    assert "could not be cancelled" not in toy.said()


# ---------------------------------------------------------------------- with other params


def schedules(toy: Toy) -> str:
    """What a dry run says."""
    before = len(toy.said())
    assert toy.run("--dry-run") == 0
    return toy.said()[before:]


@pytest.mark.long
def test_a_waiting_job_with_other_params_is_cancelled_and_submitted_again(toy: Toy) -> None:
    """Its controller was killed, and a param edited: the new value alone is trained and recorded."""
    toy.first = f"{EIGHT}, slurm_extra='--begin=now+1hour'\n    params: rate=1"
    controller = toy.write().start()
    wait_for(lambda: "is PENDING" in toy.said(), "the job to wait")
    (job,) = toy.rig.live()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    toy.unlock()
    toy.first = f"{EIGHT}\n    params: rate=2"
    assert toy.write().run() == 0, toy.said()
    assert f"first: job {job} waits with other params; cancelled, submitting again" in toy.said()
    assert toy.rig.state(int(job)) == "CANCELLED"
    once(toy)
    assert "Nothing to be done" in schedules(toy)


@pytest.mark.long
def test_a_running_job_with_other_params_is_not_taken_for_this_work(toy: Toy) -> None:
    """It is named and goes on; what it trained is not recorded as the new work, which follows."""
    toy.first = f"{EIGHT}\n    params: rate=1"
    job = killed(toy)
    toy.first = f"{EIGHT}\n    params: rate=2"
    assert toy.write().run() != 0
    assert f"first: job {job} does this with other params since 20" in toy.said()
    assert f"wait for its end, or stop it with: scancel {job}. " in toy.said()
    assert "Traceback" not in toy.said()
    toy.rig.scontrol("resume", str(job))
    wait_for(lambda: not toy.rig.live(), "the job to end", 60)
    assert "rule first" in schedules(toy)
    (toy.folder / "first.saved").unlink(missing_ok=True)
    assert toy.run() == 0, toy.said()
    assert [event.split()[0] for event in toy.events() if "done" in event] == ["first", "first", "second"]
    assert "Nothing to be done" in schedules(toy)
