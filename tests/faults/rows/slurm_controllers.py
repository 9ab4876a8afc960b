"""Controllers of a training that is a Slurm job: killed, stopped, started twice; what they trigger again."""

from __future__ import annotations

import re
import shutil
import signal
from copy import deepcopy
from pathlib import Path
from typing import Any

from faults.bench import Bench, ends_of, next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from faults.slurm_bench import ASKED, FOLLOWS, SLURM, STAGE1, SlurmBench


@fault(
    "slurm-controller-sigkilled",
    "controller SIGKILLed, its job alive; relaunch",
    injected="SIGKILL to the controller in epoch 2, iteration 3; `snakemake --unlock`, then the same again",
    must="re-attached to the job; one job in sacct, one attempt, completes",
    on_rig=True,
)
def controller_sigkilled(bench: SlurmBench) -> Measurement:
    killed, job = bench.held_in_job(*SLURM)
    bench.kill(killed)
    _refused_by_the_lock(bench.ended(*SLURM))
    relaunch, followed_s = bench.follows(job, *SLURM)
    bench.undisturbed(relaunch)
    assert (bench.stage.parent / "report.html").exists(), "there is no report"
    return Measurement(followed_s, "done", f"the relaunch follows the job: {FOLLOWS}", "completes")


def _refused_by_the_lock(launch: Launch) -> None:
    assert launch.wait() != 0, f"a controller started despite the lock:\n{launch.text}"
    assert "--unlock" in launch.text, f"Snakemake does not say what to run:\n{launch.text}"


def stopped(bench: SlurmBench, signum: signal.Signals) -> Measurement:
    """The training was saved and ended, no job is left, and the same command again completes it."""
    launch, _ = bench.held_in_job(*STAGE1)
    status, ended_s = bench.stop(launch, signum)
    last = bench.resumes(*STAGE1)
    assert len(bench.jobs()) == 2, f"the jobs in accounting are {bench.jobs()}"
    said = f"exit status {status}; the relaunch: {next_attempt(last)}"
    return Measurement(ended_s, "interrupted", said, "completes")


@fault(
    "slurm-controller-sigterm",
    "SIGTERM at the controller",
    injected="SIGTERM to the controller in epoch 2, iteration 3; the same command again",
    must="training ended and interrupted, no job left; the relaunch resumes, completes",
    on_rig=True,
)
def controller_sigterm(bench: SlurmBench) -> Measurement:
    return stopped(bench, signal.SIGTERM)


@fault(
    "slurm-controller-ctrl-c",
    "Ctrl-C at the controller",
    injected="SIGINT to the controller in epoch 2, iteration 3; the same command again",
    must="training ended and interrupted, no job left; the relaunch resumes, completes",
    on_rig=True,
)
def controller_ctrl_c(bench: SlurmBench) -> Measurement:
    return stopped(bench, signal.SIGINT)


@fault(
    "slurm-controller-ctrl-c-queue",
    "Ctrl-C at the controller while other jobs wait",
    injected="SIGINT to the controller in epoch 2, iteration 3, one job of another run held, one waiting for"
    " a closed partition; the same command again for the first run",
    must="every job ended, the training interrupted, no scancel asked for; the relaunch resumes, completes",
    on_rig=True,
)
def controller_ctrl_c_queue(bench: SlurmBench) -> Measurement:
    bench.rig.scontrol("update", "PartitionName=nograce", "State=DOWN")
    bench.undo.callback(bench.rig.scontrol, "update", "PartitionName=nograce", "State=UP")
    bench.project.configure(_two_that_wait)
    launch = bench.held(*STAGE1)
    bench.wait_for("the jobs of all runs", lambda: len(bench.live()) == 3)
    waiting = [row["JobID"] for row in bench.rig.squeue(fields="JobID,State") if row["State"] == "PENDING"]
    bench.rig.scontrol("uhold", waiting[0])
    status, ended_s = bench.stop(launch, signal.SIGINT)
    last = bench.resumes(*SLURM, "--", "runs/driving/stage1/train.json")
    said = f"exit status {status}, 3 jobs ended; the relaunch: {next_attempt(last)}"
    return Measurement(ended_s, "interrupted", said, "completes")


def _two_that_wait(data: dict[str, Any]) -> None:
    for name in ("held", "waits"):
        run = data["runs"][name] = deepcopy(data["runs"]["driving"])
        run["stages"]["stage1"]["resources"]["partition"] = "nograce"
        del run["stages"]["stage1"]["promotion"]


@fault(
    "slurm-snakemake-folder-removed",
    "`.snakemake` removed while a training runs",
    injected="`rm -r .snakemake` in epoch 2, iteration 3",
    must="the training is followed to its end; one attempt, completes",
    on_rig=True,
)
def snakemake_folder_removed(bench: SlurmBench) -> Measurement:
    launch, _ = bench.held_in_job(*STAGE1)
    bench.injected_now("removed")
    shutil.rmtree(bench.folder / ".snakemake")
    bench.undisturbed(launch)
    return Measurement(
        bench.first_end_s(), "done", "the job makes its folder again, for its result", "completes"
    )


# ---------------------------------------------------------------------- started twice


@fault(
    "slurm-two-controllers",
    "two controllers in one folder",
    injected="the same command again while the training is in epoch 2, iteration 3",
    must="the second is refused by Snakemake's lock; one job, one attempt, completes",
    on_rig=True,
)
def two_controllers(bench: SlurmBench) -> Measurement:
    launch, _ = bench.held_in_job(*STAGE1)
    bench.injected_now("second-controller")
    second = bench.ended(*STAGE1)
    _refused_by_the_lock(second)
    refused_s = second.said_at("--unlock") - second.started_s
    bench.undisturbed(launch)
    return Measurement(refused_s, "done", f"the second ends with exit status {second.wait()}", "completes")


@fault(
    "slurm-two-working-copies",
    "a controller in another working copy with the same out folder",
    injected="the same command there while the training is in epoch 2, iteration 3; its job starts on the"
    " other node",
    must="refused by the lease in one sentence that names the owner; one attempt, completes",
    on_rig=True,
)
def two_working_copies(bench: SlurmBench) -> Measurement:
    bench.ask_for(partition="both")
    bench.project.configure(lambda data: data.update(out=str(bench.folder / "runs")))
    other = _copy_of(bench)
    launch, job = bench.held_in_job(*STAGE1)
    bench.injected_now("second-controller")
    second = bench.start_in(other, *STAGE1)
    status = second.wait()
    said = _said_by_its_job(other)
    assert status != 0, f"a second training was started:\n{second.text}"
    assert re.search(rf"is training already: .*Slurm job {job}\b", said), (
        f"it does not name the owner: {said}"
    )
    assert "Traceback" not in said, f"it ended with a traceback:\n{said}"
    refused_s = second.said_at(r"Error|failed") - second.started_s
    bench.undisturbed_apart(launch)
    again = bench.start_in(other, *STAGE1)
    assert again.wait() == 0, f"after the training it ended {again.wait()}:\n{again.text}"
    assert len(bench.attempts()) == 1, ends_of(bench.attempts())
    next_step = f"the second ends with exit status {status}; after the training it trains nothing"
    return Measurement(refused_s, "done", next_step, "completes")


def _copy_of(bench: Bench) -> Path:
    other = bench.folder.parent / "another working copy"
    shutil.copytree(bench.folder, other, ignore=shutil.ignore_patterns("runs", ".snakemake"))
    return other


def _said_by_its_job(folder: Path) -> str:
    logs = sorted((folder / ".snakemake/submitit").rglob("*.out"))
    return "\n".join(path.read_text(errors="replace") for path in logs)


# ---------------------------------------------------------------------- triggered again


@fault(
    "slurm-complete-triggered",
    "a complete stage is triggered again",
    injected="`--forcerun promote_stage1` when both stages are complete",
    must="nothing is retrained: no job with a GPU in sacct",
    on_rig=True,
)
def complete_triggered(bench: SlurmBench) -> Measurement:
    bench.second_stage(resources=ASKED)
    bench.completes(bench.ended(*SLURM))
    trained = bench.jobs()
    assert [job["State"] for job in trained] == ["COMPLETED"] * 2, f"the jobs in accounting are {trained}"
    bench.injected_now("promoted-again")
    again = bench.ended(*SLURM, "--forcerun", "promote_stage1")
    assert again.wait() == 0, f"exit status {again.wait()}; it said:\n{again.text}"
    jobs = bench.jobs()
    added = jobs[len(trained) :]
    with_gpu = [job for job in added if "gres/gpu" in job["AllocTRES"]]
    assert not with_gpu, f"these jobs held GPUs: {with_gpu}"
    assert bench.project.attempts() == {"stage1": 1, "stage2": 1}, bench.project.attempts()
    took_s = again.lines[-1][0] - again.started_s
    what = f"{len(added)} job of one core, none with a GPU" if added else "no job"
    return Measurement(took_s, "done", what, "completes")
