"""Jobs that are cancelled, requeued, preempted, warned of their time limit or suspended."""

from __future__ import annotations

import json
import time

from faults.bench import EPOCHS, next_attempt
from faults.fault import Measurement, fault
from faults.slurm_bench import STAGE1, SlurmBench
from slurm.wrapped import asked_s

LIMIT_S = 45.0  # of the watchdog: much longer than a step takes, shorter than the suspension
SUSPENDED_S = 60.0
REQUEUED = "same job id, one job in sacct; resumes, completes"


@fault(
    "slurm-scancel",
    "scancel from outside",
    injected="scancel in epoch 2, iteration 3; the same command again",
    must="seen within two polls; within two polls of the job's end the stage fails, resumable, no job left;"
    " the relaunch completes",
    on_rig=True,
)
def scancel(bench: SlurmBench) -> Measurement:
    commands = bench.wrap("squeue")
    launch, job = bench.held_in_job(*STAGE1)
    bench.injected_now("scancelled")
    began_s = time.time()
    bench.rig.scancel(job)
    bench.wait_for("the job's end", lambda: bench.rig.state(int(job)) == "CANCELLED")
    gone_s = time.time()
    assert launch.wait() != 0, f"the controller ended well:\n{launch.text}"
    seen_s = launch.said_at(f"job {job} is (COMPLETING|CANCELLED)")
    failed_s = launch.said_at("cancelled from outside")
    asked = asked_s(commands, "squeue")
    polls = [sum(begin < at < end for at in asked) for begin, end in ((began_s, seen_s), (gone_s, failed_s))]
    assert max(polls) <= 2, f"it asked {polls[0]} and {polls[1]} times until it said so:\n{launch.text}"
    assert not bench.jobs_left(), f"a job is left: {bench.live()}"
    assert not bench.complete(), "train.json tells of a training that did not complete"
    bench.completes(bench.ended(*STAGE1))
    *_, first, last = bench.attempts()
    assert last.resumed_from is not None, "the relaunch starts from the beginning"
    assert [one["State"] for one in bench.jobs()] == ["CANCELLED", "COMPLETED"], bench.jobs()
    said = f"seen at poll {polls[0]}, failed at poll {polls[1]} after its end; relaunch: {next_attempt(last)}"
    return Measurement(bench.since_s(seen_s), str(first.end), said, "completes")


@fault(
    "slurm-requeue",
    "scontrol requeue",
    injected="scontrol requeue in epoch 2, iteration 3",
    must=REQUEUED,
    on_rig=True,
)
def requeue(bench: SlurmBench) -> Measurement:
    launch, job = bench.held_in_job(*STAGE1)
    bench.injected_now("requeued")
    bench.rig.scontrol("requeue", job)
    return bench.resumed_in_jobs(launch, "COMPLETED")


def _preempted(bench: SlurmBench, partition: str, *states: str) -> Measurement:
    bench.ask_for(partition=partition)
    launch, _ = bench.held_in_job(*STAGE1)
    bench.injected_now("preempted")
    bench.preempt()
    seen = bench.resumed_in_jobs(launch, *states)
    # Without a grace Slurm tells a preemption from no other requeue, and may kill the supervisor first.
    told = {"preempted"} if partition == "gpu" else {"interrupted", "lost"}
    assert bench.attempts()[0].end in told, launch.text
    return seen


@fault(
    "slurm-preempted-with-grace",
    "preempted, with a grace time",
    injected="a job of another partition wants the node in epoch 2, iteration 3; GraceTime=20",
    must=REQUEUED,
    on_rig=True,
)
def preempted_with_grace(bench: SlurmBench) -> Measurement:
    return _preempted(bench, "gpu", "COMPLETED")


@fault(
    "slurm-preempted-without-grace",
    "preempted, without a grace time",
    injected="a job of another partition wants the node in epoch 2, iteration 3; GraceTime=0",
    must=REQUEUED,
    on_rig=True,
)
def preempted_without_grace(bench: SlurmBench) -> Measurement:
    return _preempted(bench, "nograce", "COMPLETED")


@fault(
    "slurm-preempted-without-requeue",
    "preempted, and may not be requeued",
    injected="site.yaml: sbatch: [--no-requeue]; a job of another partition wants the node in epoch 2,"
    " iteration 3",
    must="seen, submitted again as a second job; resumes, completes",
    on_rig=True,
)
def preempted_without_requeue(bench: SlurmBench) -> Measurement:
    bench.site(sbatch=["--no-requeue"])
    launch, job = bench.held_in_job(*STAGE1)
    bench.injected_now("preempted")
    bench.preempt()
    again = bench.trains_again(launch)
    bench.completes(launch)
    launch.said_at(rf"job {job} will be resubmitted")
    assert again.resumed_from is not None, "it starts from the beginning"
    assert len(bench.jobs()) == 2, f"the jobs in accounting are {bench.jobs()}"
    ends = ", ".join(str(record.end) for record in bench.attempts()[:-1])
    assert ends == "preempted", f"the attempts ended {ends}"
    return Measurement(bench.since_s(again.started_s), ends, f"a new job: {next_attempt(again)}", "completes")


@fault(
    "slurm-time-limit-twice",
    "time limit twice in one stage",
    injected="runtime_min: 3; it waits in epoch 2, iteration 3, and then in epoch 3, iteration 1, until it is"
    " warned of the limit",
    must="three legs under one job id, each with a new checkpoint; completes",
    on_rig=True,
)
def time_limit_twice(bench: SlurmBench) -> Measurement:
    # Slurm may warn a minute early: of 2 minutes the third leg might not have enough to end by itself.
    bench.ask_for(runtime_min=3)
    bench.configure(hang_timeout_s=600)
    launch, _ = bench.held_in_job(*STAGE1, later=((3, 1),))
    bench.injected_now("waits-for-the-limit")
    bench.completes(launch)
    records = bench.attempts()
    points = [record.resumed_from.epoch if record.resumed_from else 0 for record in records]
    assert [record.end for record in records] == ["time-limit", "time-limit", "done"], launch.text
    assert points == [0, 1, EPOCHS - 1], f"the legs begin after epochs {points}"
    bench.in_jobs("COMPLETED")
    legs = json.loads((bench.stage / "train.json").read_text())["legs"]
    assert [(leg["slurm"]["restarts"], leg["end"]) for leg in legs] == list(
        enumerate(record.end for record in records)
    ), f"train.json tells the legs {legs}"
    first_s = records[0].ended_s
    assert first_s is not None
    between_s = records[1].started_s - first_s
    said = (
        f"the same job, three legs that begin after epochs {points}, {between_s:.0f} s from one to the next"
    )
    return Measurement(bench.since_s(first_s), "time-limit, time-limit", said, "completes")


@fault(
    "slurm-suspended",
    "scontrol suspend, and resume",
    injected=f"suspended for {SUSPENDED_S:g} s in epoch 2, iteration 3; hang_timeout_s: {LIMIT_S:g}",
    must="no false hang; one attempt, completes",
    on_rig=True,
)
def suspended(bench: SlurmBench) -> Measurement:
    bench.configure(hang_timeout_s=LIMIT_S)
    launch, job = bench.held_in_job(*STAGE1)
    bench.injected_now("suspended")
    bench.rig.scontrol("suspend", job)
    seen_s = bench.said_at(launch, f"job {job} is SUSPENDED")
    time.sleep(SUSPENDED_S)
    bench.rig.scontrol("resume", job)
    bench.undisturbed(launch)
    return Measurement(
        bench.since_s(seen_s), "done", "waits; after resume the attempt continues", "completes"
    )
