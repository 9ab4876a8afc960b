"""Slurm itself fails: a node's daemon, the controller daemon, accounting, squeue."""

from __future__ import annotations

import re
import time

from faults.bench import next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from faults.slurm_bench import STAGE1, SlurmBench
from slurm.rig import wait_for

AWAY_S = 60.0
NODE_FAIL_S = 180.0  # SlurmdTimeout is 10 s, and slurmctld looks now and then
NO_END = "no false end: one attempt, one job, completes"


# ---------------------------------------------------------------------- a node is lost


@fault(
    "slurm-node-lost-process-lives",
    "slurmd SIGKILLed, the training on its node lives on",
    injected="SIGKILL to the node's slurmd in epoch 2, iteration 3; Slurm requeues the job onto the other"
    " node while the old training still runs",
    must="the old one ends when the new one has taken over and trains nothing beside it; completes",
    on_rig=True,
)
def node_lost_process_lives(bench: SlurmBench) -> Measurement:
    launch = _split(bench)
    again = bench.trains_again(launch)
    bench.go_on()
    _old_trains_nothing_after(bench, again.started_s)
    bench.completes(launch)
    bench.in_jobs("COMPLETED")
    assert again.resumed_from is not None, "it starts from the beginning"
    _two_hosts(bench)
    return Measurement(
        bench.since_s(again.started_s), _first_end(bench), f"the same job: {next_attempt(again)}", "completes"
    )


@fault(
    "slurm-node-lost-no-requeue-process-lives",
    "slurmd SIGKILLed, the training lives on, no requeue",
    injected="site.yaml: sbatch: [--no-requeue]; SIGKILL to the node's slurmd in epoch 2, iteration 3; the"
    " new job starts on the other node while the old training still runs",
    must="NODE_FAIL is seen, submitted again as a second job, which takes over; completes",
    on_rig=True,
)
def node_lost_no_requeue_process_lives(bench: SlurmBench) -> Measurement:
    bench.site(sbatch=["--no-requeue"])
    launch = _split(bench)
    again = bench.trains_again(launch)
    bench.go_on()
    _old_trains_nothing_after(bench, again.started_s)
    bench.completes(launch)
    bench.in_jobs("NODE_FAIL", "COMPLETED")
    assert again.resumed_from is not None, "it starts from the beginning"
    _two_hosts(bench)
    return Measurement(
        bench.since_s(again.started_s), _first_end(bench), f"a new job: {next_attempt(again)}", "completes"
    )


def _split(bench: SlurmBench) -> Launch:
    """The node's slurmd is gone for good, its training lives and is held."""
    bench.ask_for(partition="both")
    # Each of the rig's nodes is a host to what runs on it, as on a real cluster.
    nodes = str(bench.plan.with_name("nodes"))
    launch, job = bench.held_in_job(*STAGE1, PYTHONPATH=f"{nodes}:{bench.python_path()}")
    node = bench.rig.squeue(int(job), "NodeList")[0]["NodeList"]
    bench.injected_now("slurmd-sigkilled")
    bench.rig.stop(f"slurmd.{node}", kill=True)
    return launch


def _old_trains_nothing_after(bench: SlurmBench, at_s: float) -> None:
    """By their own stamps the ranks of attempt 1 trained nothing once attempt 2 had begun."""
    old = bench.attempts()[0].tag
    lines = [line for line in bench.stamps().lines if line["tag"] == old and line["at_s"] > at_s]
    assert not lines, f"the old ranks still trained after the takeover: {lines}"


def _first_end(bench: SlurmBench) -> str:
    return str(bench.attempts()[0].end)


def _two_hosts(bench: SlurmBench) -> None:
    hosts = {record.host for record in bench.attempts()}
    assert len(hosts) == 2, f"the attempts ran on {hosts}"


@fault(
    "slurm-node-fail-without-requeue",
    "NODE_FAIL without requeue, the node comes back",
    injected="site.yaml: sbatch: [--no-requeue]; SIGKILL to the node's slurmd in epoch 2, iteration 3;"
    " started again when the job has failed with its node",
    must="seen, submitted again as a second job; resumes, completes",
    on_rig=True,
)
def node_fail_without_requeue(bench: SlurmBench) -> Measurement:
    bench.site(sbatch=["--no-requeue"])
    launch, job = bench.held_in_job(*STAGE1)
    daemon = f"slurmd.{bench.rig.booted().nodes[0]}"
    bench.injected_now("slurmd-sigkilled")
    bench.rig.stop(daemon, kill=True)
    wait_for(lambda: bench.rig.state(int(job)) == "NODE_FAIL", f"job {job} to fail", NODE_FAIL_S)
    bench.rig.start(daemon)
    bench.said_at(launch, rf"job {job} will be resubmitted: .*NODE_FAIL")
    return bench.resumed_in_jobs(launch, "NODE_FAIL", "COMPLETED")


# ---------------------------------------------------------------------- who is asked does not answer


def _notices(bench: SlurmBench, launch: Launch) -> float:
    """The controller says that it got no answer, and later that it got one."""
    return bench.since_s(bench.said_at(launch, "Slurm does not answer; retrying"))


@fault(
    "slurmctld-restarted",
    "slurmctld stopped and started again",
    injected=f"slurmctld ended in epoch 2, iteration 3; started again after {AWAY_S:g} s",
    must=NO_END,
    on_rig=True,
)
def slurmctld_restarted(bench: SlurmBench) -> Measurement:
    launch, _ = bench.held_in_job(*STAGE1)
    bench.injected_now("slurmctld-ended")
    bench.rig.stop("slurmctld")
    time.sleep(AWAY_S)
    bench.rig.start("slurmctld")
    noticed_s = _notices(bench, launch)
    bench.said_at(launch, "Slurm answers again")
    bench.undisturbed(launch)
    return Measurement(noticed_s, "done", "keeps asking", "completes")


@fault(
    "slurmctld-lost-state",
    "slurmctld restarted without its state",
    injected="slurmctld SIGKILLed in epoch 2, iteration 3; started again with -c, so that it knows no job",
    must="one sentence: Slurm no longer knows the job; nothing of a scancel; the relaunch never trains beside"
    " what is left of it, resumes, completes",
    on_rig=True,
)
def slurmctld_lost_state(bench: SlurmBench) -> Measurement:
    launch, job = bench.held_in_job(*STAGE1)
    bench.injected_now("slurmctld-lost-state")
    bench.rig.stop("slurmctld", kill=True)
    bench.rig.start("slurmctld", "-c")
    told_s = bench.since_s(bench.said_at(launch, rf"job {job}\): Slurm no longer knows the job"))
    assert launch.wait() != 0, f"the controller ended well:\n{launch.text}"
    assert "cancelled from outside" not in launch.text, f"nobody cancelled it:\n{launch.text}"
    last = bench.resumes(*STAGE1)
    first = bench.attempts()[0]
    said = f"the stage fails, resumable; the relaunch: {next_attempt(last)}"
    return Measurement(told_s, str(first.end), said, "completes")


@fault(
    "slurmdbd-away",
    "slurmdbd away for a minute",
    injected=f"slurmdbd ended in epoch 2, iteration 3; started again after {AWAY_S:g} s, in which the"
    " training ends",
    must=NO_END,
    on_rig=True,
)
def slurmdbd_away(bench: SlurmBench) -> Measurement:
    launch, _ = bench.held_in_job(*STAGE1)
    bench.injected_now("slurmdbd-ended")
    bench.rig.stop("slurmdbd")
    bench.go_on()
    time.sleep(AWAY_S)
    bench.rig.start("slurmdbd")
    bench.undisturbed(launch)
    ended_s = bench.attempts()[0].ended_s
    assert ended_s is not None
    return Measurement(bench.since_s(ended_s), "done", "the training's end is seen anyway", "completes")


@fault(
    "squeue-away",
    "squeue fails for a minute",
    injected=f"squeue ends with exit status 1 for {AWAY_S:g} s from epoch 2, iteration 3 on",
    must=NO_END,
    on_rig=True,
)
def squeue_away(bench: SlurmBench) -> Measurement:
    says = "slurm_load_jobs error: Socket timed out on send/recv operation"
    away = bench.wrap("squeue", f"if [ -e \"$HERE/away\" ]; then echo '{says}' >&2; exit 1; fi") / "away"
    launch, _ = bench.held_in_job(*STAGE1)
    bench.injected_now("squeue-fails")
    away.touch()
    noticed_s = _notices(bench, launch)
    time.sleep(AWAY_S)
    away.unlink()
    bench.said_at(launch, "Slurm answers again")
    assert len(re.findall("Slurm does not answer", launch.text)) == 1, f"it says so again:\n{launch.text}"
    bench.undisturbed(launch)
    return Measurement(noticed_s, "done", "keeps asking", "completes")
