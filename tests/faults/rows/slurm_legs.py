"""Trainings whose jobs are queued at once, as one array whose tasks run one after the other."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence

from faults.bench import EPOCHS, ends_of, next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from faults.rows.slurm_controllers import stopped
from faults.slurm_bench import FOLLOWS, STAGE1, SlurmBench


def _ends_after(bench: SlurmBench, launch: Launch, points: Sequence[int]) -> Measurement:
    """Time limits ended all legs but the last, each its own task; they began after these epochs."""
    bench.completes(launch)
    records = bench.attempts()
    ends = [record.end for record in records]
    limits = ["time-limit"] * (len(points) - 1)
    assert ends == [*limits, "done"], f"the attempts ended {ends_of(records)}; it said:\n{launch.text}"
    found = [record.resumed_from.epoch if record.resumed_from else 0 for record in records]
    assert found == [*points], f"the legs begin after epochs {found}"
    bench.in_jobs(*["COMPLETED"] * len(points))
    arrays = {job["JobID"].partition("_")[0] for job in bench.jobs()}
    assert len(arrays) == 1, f"the jobs are {bench.jobs()}"
    assert not bench.jobs_left(), f"a leg is left: {bench.live()}"
    told = json.loads((bench.stage / "train.json").read_text())["legs"]
    assert [leg["end"] for leg in told] == ends, f"train.json tells the legs {told}"
    assert len({leg["slurm"]["job_id"] for leg in told}) == len(points), f"train.json tells the legs {told}"
    assert records[0].ended_s is not None
    between_s = records[1].started_s - records[0].ended_s
    said = f"the next task of the array, {between_s:.0f} s later; the legs begin after epochs {found}"
    return Measurement(bench.since_s(records[1].started_s), ", ".join(limits), said, "completes")


@fault(
    "slurm-legs-time-limit",
    "time limit twice, legs: array",
    injected="runtime_min: 2; it waits in epoch 2, iteration 3, and then in epoch 3, iteration 1, until it is"
    " warned of the limit",
    must="three tasks of one array, each with a new checkpoint, none requeued; completes, no task left",
    on_rig=True,
)
def legs_time_limit(bench: SlurmBench) -> Measurement:
    bench.ask_for(runtime_min=2, legs="array")
    bench.configure(hang_timeout_s=600)
    launch, _ = bench.held_in_job(*STAGE1, later=((3, 1),))
    bench.injected_now("waits-for-the-limit")
    return _ends_after(bench, launch, (0, 1, EPOCHS - 1))


@fault(
    "slurm-legs-no-checkpoint",
    "time limit before the first checkpoint, legs: array",
    injected="runtime_min: 2; it waits in epoch 1, iteration 2, until it is warned of the limit",
    must="the next task of the array starts from scratch; completes, no task left",
    on_rig=True,
)
def legs_no_checkpoint(bench: SlurmBench) -> Measurement:
    bench.ask_for(runtime_min=2, legs="array")
    bench.configure(hang_timeout_s=600)
    bench.inject(kind="wait", rank=0, epoch=1, iteration=2)
    launch = bench.start(*STAGE1)
    bench.wait_for("the trainer", lambda: launch.ended or bench.stamps().of("fired"))
    bench.injected_now("waits-for-the-limit")
    return _ends_after(bench, launch, (0, 0))


@fault(
    "slurm-legs-failure",
    "a leg fails for good, legs: array",
    injected="USR2 to the first task in epoch 2, iteration 3; a weight becomes NaN in epoch 3, iteration 1",
    must="the second task ends diverged, the tasks that wait are cancelled, the stage fails",
    on_rig=True,
)
def legs_failure(bench: SlurmBench) -> Measurement:
    bench.ask_for(legs="array")
    bench.inject(
        {"kind": "wait", "rank": 0, "epoch": 2, "iteration": 3},
        {"kind": "nan", "epoch": EPOCHS, "iteration": 1},
    )
    launch = bench.start(*STAGE1)
    bench.wait_for("the trainer in epoch 2", lambda: launch.ended or bench.stamps().of("fired"))
    bench.injected_now("leg-warned")
    bench.rig.warn(bench.the_job())
    assert launch.wait() != 0, f"the controller ended well:\n{launch.text}"
    assert not bench.jobs_left(), f"a leg is left: {bench.live()}"
    first, last = bench.attempts()
    ends = [first.end, last.end]
    assert ends == ["interrupted", "diverged"], f"the attempts ended {ends_of(bench.attempts())}"
    assert last.ended_s is not None
    said = f"the second task: {next_attempt(last)}; then none"
    return Measurement(bench.since_s(last.ended_s), ", ".join(map(str, ends)), said, "the stage fails")


@fault(
    "slurm-legs-ctrl-c",
    "Ctrl-C, legs: array",
    injected="SIGINT to the controller in epoch 2, iteration 3, nine tasks wait; the same command again",
    must="training ended and interrupted, no task left; the relaunch resumes in another array, completes",
    on_rig=True,
)
def legs_ctrl_c(bench: SlurmBench) -> Measurement:
    bench.ask_for(legs="array")
    return stopped(bench, signal.SIGINT)


@fault(
    "slurm-legs-controller-sigkilled",
    "controller SIGKILLed, legs: array; relaunch",
    injected="SIGKILL to the controller in epoch 2, iteration 3; USR2 to the first task, `snakemake --unlock`"
    " and the same again in the second one",
    must="re-attached to the array; two tasks, completes, no task left",
    on_rig=True,
)
def legs_controller_sigkilled(bench: SlurmBench) -> Measurement:
    bench.ask_for(legs="array")
    killed, job = bench.held_in_job(*STAGE1, later=((3, 1),))
    bench.kill(killed)
    bench.rig.warn(job)
    bench.wait_for("the second task", lambda: len(bench.attempts()) == 2)
    relaunch, followed_s = bench.follows(job, *STAGE1)
    bench.go_on(EPOCHS, 1)
    bench.completes(relaunch)
    ends = [record.end for record in bench.attempts()]
    assert ends == ["interrupted", "done"], f"the attempts ended {ends_of(bench.attempts())}"
    bench.in_jobs("COMPLETED", "COMPLETED")
    assert not bench.jobs_left(), f"a leg is left: {bench.live()}"
    return Measurement(followed_s, "interrupted", f"the relaunch follows the array: {FOLLOWS}", "completes")
