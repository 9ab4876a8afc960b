"""Nodes that fail again and again."""

from __future__ import annotations

import json

from faults.bench import next_attempt
from faults.fault import Measurement, fault
from faults.slurm_bench import STAGE1, SlurmBench
from slurm.rig import wait_for

NODE_FAIL_S = 180.0  # SlurmdTimeout is 10 s, and slurmctld looks now and then


def _ran_on(bench: SlurmBench) -> list[tuple[str | None, str]]:
    """How each attempt ended, and where."""
    return [(one.end, one.slurm.nodes if one.slurm else "") for one in bench.attempts()]


@fault(
    "slurm-gpu-fails-twice",
    "a GPU of one node fails twice",
    injected="torch's uncorrectable ECC error in epoch 2, iteration 3, on the first node, each time",
    must="two attempts there, then the same job runs on the other node; plan and watch tell of it; completes",
    on_rig=True,
)
def gpu_fails_twice(bench: SlurmBench) -> Measurement:
    first, second = bench.rig.booted().nodes
    bench.ask_for(partition="both")
    bench.inject(kind="gpu-fails", rank=0, epoch=2, iteration=3, once=False)
    launch = bench.ended(*STAGE1)
    bench.completes(launch)
    bench.in_jobs("COMPLETED")
    assert _ran_on(bench) == [("node", first), ("node", first), ("done", second)], launch.text
    *_, failed, last = bench.attempts()
    assert last.resumed_from is not None, "it starts from the beginning"
    # A training that is not complete is planned without the node, too.
    bench.configure(epochs=4)
    (planned,) = json.loads(bench.ended("trainrelay", "plan", "--json").text)
    assert f"--exclude={first}" in planned["sbatch"], planned
    assert any(first in note and "failed there twice" in note for note in planned["notes"]), planned
    watched = bench.ended("trainrelay", "watch").text
    assert f"{first} is avoided until" in watched, watched
    assert failed.ended_s is not None
    return Measurement(
        last.started_s - failed.ended_s, "node, node", f"the same job: {next_attempt(last)}", "completes"
    )


@fault(
    "slurm-gpu-fails-on-the-only-node",
    "a GPU fails twice, and there is no other node",
    injected="the same in a partition of one node",
    must="the node is not excluded, and that is reported; ends after 3 attempts without a new checkpoint",
    on_rig=True,
)
def gpu_fails_on_the_only_node(bench: SlurmBench) -> Measurement:
    bench.inject(kind="gpu-fails", rank=0, epoch=2, iteration=3, once=False)
    launch = bench.ended(*STAGE1)
    assert launch.process.returncode != 0, launch.text
    assert {end for end, _ in _ran_on(bench)} == {"node"}, _ran_on(bench)
    assert len(bench.jobs()) == 1, bench.jobs()
    (planned,) = json.loads(bench.ended("trainrelay", "plan", "--json").text)
    assert not any("--exclude" in flag for flag in planned["sbatch"]), planned
    assert any("it is not excluded" in note for note in planned["notes"]), planned
    last = bench.attempts()[-1]
    assert last.decision is not None
    assert last.decision.step == "final", last
    return Measurement(0.0, "node", last.decision.reason, "needs your decision")


@fault(
    "slurm-node-lost-twice",
    "a node is lost twice",
    injected="SIGKILL to the slurmd of the first node in epoch 2, iteration 3, and epoch 3, iteration 1; the"
    " other node is drained until then; both are back when the job is queued the second time",
    must="the third leg runs on the other node; completes",
    on_rig=True,
)
def node_lost_twice(bench: SlurmBench) -> Measurement:
    first, second = bench.rig.booted().nodes
    bench.ask_for(partition="both")
    bench.rig.scontrol("update", f"NodeName={second}", "State=DRAIN", "Reason=fault")
    launch, job = bench.held_in_job(*STAGE1, later=((3, 1),))
    bench.injected_now("slurmd-sigkilled")
    _lose(bench, first, job)
    bench.rig.start(f"slurmd.{first}")
    bench.trains_again(launch)
    bench.go_on()
    bench.wait_for("the trainer in epoch 3", lambda: launch.ended or len(bench.stamps().of("fired")) > 1)
    _lose(bench, first, job)
    bench.rig.scontrol("update", f"NodeName={second}", "State=RESUME")
    bench.rig.start(f"slurmd.{first}")
    bench.go_on(3, 1)
    bench.completes(launch)
    assert _ran_on(bench) == [("node", first), ("node", first), ("done", second)], launch.text
    *_, failed, last = bench.attempts()
    assert failed.ended_s is not None
    return Measurement(
        last.started_s - failed.ended_s, "node, node", f"the same job: {next_attempt(last)}", "completes"
    )


def _lose(bench: SlurmBench, node: str, job: str) -> None:
    bench.rig.stop(f"slurmd.{node}", kill=True)
    wait_for(lambda: bench.rig.state(int(job)) == "PENDING", f"job {job} to be queued again", NODE_FAIL_S)
