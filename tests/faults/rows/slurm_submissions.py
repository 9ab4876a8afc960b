"""What sbatch refuses for good: one run's stage fails with a sentence, the other run continues.

And what it refuses for now, what it does not answer, and a site that rewrites what it was given.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from faults.bench import ends_of
from faults.fault import Measurement, fault
from faults.launch import Launch
from faults.slurm_bench import FOLLOWS, SLURM, STAGE1, SlurmBench

MUST = "one clear sentence, the stage fails; the other run completes (keep-going)"


def _refused(bench: SlurmBench, sentence: str, **resources: Any) -> Measurement:
    """A second run `wrong` asks for what Slurm does not give; the first one is trained anyway."""

    def add(data: dict[str, Any]) -> None:
        runs = data["runs"]
        runs["wrong"] = deepcopy(runs["driving"])
        stage = runs["wrong"]["stages"]["stage1"]
        stage["resources"].update(resources)
        del stage["promotion"]

    bench.project.configure(add)
    bench.injected_now("refused")
    launch = bench.start(*SLURM)
    said_s = bench.said_at(launch, sentence)
    status = launch.wait()
    assert status != 0, f"the controller ended well:\n{launch.text}"
    assert "Traceback" not in launch.text, f"it ended with a traceback:\n{launch.text}"
    said = [line.strip() for line in launch.text.splitlines() if sentence in line]
    assert len(said) == 1, f"it says so {len(said)} times:\n{launch.text}"
    flags = {"account": "--account=nobody", "partition": "--partition=nowhere", "gpu": "--gres=gpu:a40:9"}
    assert "train_stage1[run=wrong]: sbatch refuses it" in said[0], f"it does not name the stage: {said[0]}"
    assert all(flags[name] in said[0] for name in resources), f"it does not say what was asked for: {said[0]}"
    assert bench.complete(), f"the other run did not complete:\n{launch.text}"
    assert (bench.stage.parent / "report.html").exists(), "the other run has no report"
    bench.in_jobs("COMPLETED")
    clear = said[0].removeprefix("message: ").partition(". For further")[0]
    return Measurement(said_s - launch.started_s, "not submitted", clear, "the other run completes")


@fault(
    "slurm-wrong-account",
    "sbatch refuses the account",
    injected="account: nobody in one of two runs",
    must=MUST,
    on_rig=True,
)
def wrong_account(bench: SlurmBench) -> Measurement:
    return _refused(bench, "Invalid account", account="nobody")


@fault(
    "slurm-wrong-partition",
    "sbatch refuses the partition",
    injected="partition: nowhere in one of two runs",
    must=MUST,
    on_rig=True,
)
def wrong_partition(bench: SlurmBench) -> Measurement:
    return _refused(bench, "invalid partition", partition="nowhere")


@fault(
    "slurm-nine-gpus",
    "sbatch refuses nine GPUs",
    injected="gpu: 9 in one of two runs, where every node has eight",
    must=MUST,
    on_rig=True,
)
def nine_gpus(bench: SlurmBench) -> Measurement:
    return _refused(bench, "Requested node configuration is not available", gpu=9)


# ---------------------------------------------------------------------- submitted once


def _trains_once(bench: SlurmBench, launch: Launch) -> None:
    """One attempt in one job, to its end."""
    bench.completes(launch)
    ends = [record.end for record in bench.attempts()]
    assert ends == ["done"], f"the attempts ended {ends_of(bench.attempts())}; it said:\n{launch.text}"
    bench.in_jobs("COMPLETED")


@fault(
    "slurm-sbatch-not-answered",
    "sbatch gets no answer, the job appears later",
    injected="job_submit.lua takes 14 s for the first submission, MessageTimeout is 10 s: sbatch times out,"
    " and the job is in the queue 4 s later",
    must="that job is followed and trains; no second job, one attempt, completes",
    on_rig=True,
)
def sbatch_not_answered(bench: SlurmBench) -> Measurement:
    slow = bench.folder / "slow"
    slow.touch()
    with bench.rig.site_lua(f"if os.remove('{slow}') then os.execute('sleep 14') end"):
        bench.injected_now("submission-not-answered")
        launch = bench.start(*STAGE1)
        bench.said_at(launch, "Socket timed out")
        found = "sbatch gave no answer, but it was submitted"
        found_s = bench.since_s(bench.said_at(launch, found))
        _trains_once(bench, launch)
    return Measurement(found_s, "done", found, "completes")


@fault(
    "slurm-comment-rewritten",
    "the site rewrites comments; controller SIGKILLed, relaunch",
    injected="job_submit.lua sets each job's comment to site:checked and refuses each update; SIGKILL to the"
    " controller in epoch 2, iteration 3; `snakemake --unlock`, then the same again",
    must="re-attached to the job; one job in sacct, one attempt, completes",
    on_rig=True,
)
def comment_rewritten(bench: SlurmBench) -> Measurement:
    with bench.rig.site_lua('job.comment = "site:checked"', "do return slurm.ERROR end"):
        killed, job = bench.held_in_job(*STAGE1)
        comment = bench.rig.squeue(int(job), "Comment")[0]["Comment"]
        assert comment == "site:checked", f"the job's comment is {comment}"
        bench.kill(killed)
        relaunch, followed_s = bench.follows(job, *STAGE1)
        bench.undisturbed(relaunch)
    return Measurement(followed_s, "done", f"the relaunch follows the job: {FOLLOWS}", "completes")


@fault(
    "slurm-job-limit",
    "the limit on submitted jobs is reached",
    injected="MaxSubmitJobs=1 for the user, who has one job; that one is cancelled when the controller waits",
    must="one line names the limit; submitted when it allows it, as one job; completes",
    on_rig=True,
)
def job_limit(bench: SlurmBench) -> Measurement:
    held = bench.rig.sbatch("--hold", "--output=/dev/null", "--chdir=/", "--wrap=true")
    with bench.rig.limited_to(1):
        bench.injected_now("job-limit")
        launch = bench.start(*STAGE1)
        limit = "AssocMaxSubmitJobLimit"
        said_s = bench.since_s(bench.said_at(launch, limit))
        bench.rig.scancel(str(held))
        _trains_once(bench, launch)
    assert launch.text.count(limit) == 1, f"it says so {launch.text.count(limit)} times:\n{launch.text}"
    return Measurement(said_s, "done", f"waits: {limit}", "completes")
