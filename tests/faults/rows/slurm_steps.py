"""Jobs that are ended within an epoch, with step checkpoints: see steps.py."""

from __future__ import annotations

from collections.abc import Callable

from faults.bench import ends_of
from faults.fault import Measurement, fault
from faults.rows.slurm_daemons import node_lost_process_lives
from faults.rows.slurm_jobs import preempted_without_grace
from faults.rows.steps import AT_EACH_STEP, RARELY, continued, lets_save
from faults.slurm_bench import STAGE1, SlurmBench

SAVED = "one is saved; same job id, continues at its step, at most 1 iteration redone; completes"


def _warned(bench: SlurmBench, end: str, act: Callable[[], object]) -> Measurement:
    """Slurm warns the job, which saves in the time that it has, and runs it again."""
    bench.configure(checkpoint_interval_min=RARELY, hang_timeout_s=600)
    launch, _ = bench.held_in_job(*STAGE1)
    bench.injected_now(end)
    act()
    lets_save(bench, launch)
    seen = bench.resumed_in_jobs(launch, "COMPLETED")
    assert bench.attempts()[0].end == end, ends_of(bench.attempts())
    return continued(bench, seen, 3, redone=1)


@fault(
    "slurm-step-time-limit",
    "time limit, with step checkpoints",
    injected="runtime_min: 4; it waits in epoch 2, iteration 3, until it is warned of the limit",
    must=SAVED,
    on_rig=True,
)
def step_time_limit(bench: SlurmBench) -> Measurement:
    bench.ask_for(runtime_min=4)
    return _warned(bench, "time-limit", lambda: None)


@fault(
    "slurm-step-preempted-with-grace",
    "preempted, with a grace time and step checkpoints",
    injected="a job of another partition wants the node in epoch 2, iteration 3; GraceTime=20",
    must=SAVED,
    on_rig=True,
)
def step_preempted_with_grace(bench: SlurmBench) -> Measurement:
    return _warned(bench, "preempted", bench.preempt)


@fault(
    "slurm-step-preempted-without-grace",
    "preempted, without a grace time, step checkpoints at each step",
    injected="a job of another partition wants the node in epoch 2, iteration 3, where rank 0 waits;"
    " GraceTime=0",
    must="same job id, continues within epoch 2, at most 1 iteration redone; completes",
    on_rig=True,
)
def step_preempted_without_grace(bench: SlurmBench) -> Measurement:
    bench.configure(checkpoint_interval_min=AT_EACH_STEP)
    return continued(bench, preempted_without_grace(bench), 2, redone=1)


@fault(
    "slurm-step-node-lost",
    "slurmd SIGKILLed, the training on its node lives on, step checkpoints at each step",
    injected="SIGKILL to the node's slurmd in epoch 2, iteration 3; Slurm requeues the job onto the other"
    " node while the old training still runs",
    must="the old one ends; the new one continues within epoch 2, at most 1 iteration redone; completes",
    on_rig=True,
)
def step_node_lost(bench: SlurmBench) -> Measurement:
    bench.configure(checkpoint_interval_min=AT_EACH_STEP)
    return continued(bench, node_lost_process_lives(bench), 2, redone=1)
