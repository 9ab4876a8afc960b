"""What is edited after a job was submitted, and what the user's environment says: the job is as submitted."""

from __future__ import annotations

import re
from typing import Any

from faults.bench import next_attempt
from faults.fault import Measurement, fault
from faults.launch import Launch
from faults.slurm_bench import SLURM, STAGE1, SlurmBench

RATE = 0.0123
AS_SUBMITTED = "trains as submitted and completes; the edit counts from the next `snakemake` on"


def _set(bench: SlurmBench, **options: Any) -> None:
    """Other options of stage1 in config.yaml, from now on."""
    bench.configure(options={**bench.options(), **options})


def _trains(bench: SlurmBench, launch: Launch) -> None:
    bench.wait_for("the training's start", lambda: launch.ended or bench.attempts())
    assert bench.attempts(), f"it ended before it trained:\n{launch.text}"


def _as_submitted(bench: SlurmBench, launch: Launch) -> None:
    """It completes in one folder, with what was in config.yaml when the job was submitted."""
    bench.completes(launch)
    trained = (bench.stage / "stage.json").read_text()
    assert str(RATE) not in trained, f"it trained with the option that was edited after submission: {trained}"
    assert not list(bench.stage.parent.glob("*.old*")), "a training was archived"


def _next(bench: SlurmBench) -> str:
    """What the next `snakemake` would do with stage1."""
    return bench.project.scheduled("--until", "train_stage1").get("driving/stage1", "trains nothing")


@fault(
    "slurm-edit-pending",
    "an option edited while the job waits in the queue",
    injected="optimizer.lr set in config.yaml while another job holds the GPUs",
    must=AS_SUBMITTED,
    on_rig=True,
)
def edit_pending(bench: SlurmBench) -> Measurement:
    launch, holder = bench.held_up(*STAGE1)
    bench.injected_now("edited")
    _set(bench, **{"optimizer.lr": RATE})
    bench.rig.scancel(holder)
    _as_submitted(bench, launch)
    then = _next(bench)
    assert then.startswith("trains 3 epochs from scratch"), then
    seen_s = bench.attempts()[0].started_s
    return Measurement(bench.since_s(seen_s), "done", "as submitted, not as edited", "completes")


@fault(
    "slurm-edit-reverted",
    "an option edited while the job waits, and reverted when it trains",
    injected="optimizer.lr set in config.yaml while another job holds the GPUs, taken out when it trains",
    must="both stages train and promote what was submitted, which is what config.yaml says",
    on_rig=True,
)
def edit_reverted(bench: SlurmBench) -> Measurement:
    bench.second_stage(epochs=1)
    before = (bench.folder / "config.yaml").read_text()
    launch, holder = bench.held_up(*SLURM)
    bench.injected_now("edited")
    _set(bench, **{"optimizer.lr": RATE})
    bench.rig.scancel(holder)
    _trains(bench, launch)
    (bench.folder / "config.yaml").write_text(before)
    _as_submitted(bench, launch)
    assert _next(bench) == "trains nothing", _next(bench)
    seen_s = bench.attempts()[0].started_s
    return Measurement(bench.since_s(seen_s), "done", "both stages as submitted", "completes")


@fault(
    "slurm-edit-requeued",
    "an option edited while it trains, then a requeue",
    injected="optimizer.lr set in config.yaml in epoch 2, iteration 3; scontrol requeue",
    must="same job id; resumes as submitted, nothing archived, completes",
    on_rig=True,
)
def edit_requeued(bench: SlurmBench) -> Measurement:
    launch, job = bench.held_in_job(*STAGE1)
    _set(bench, **{"optimizer.lr": RATE})
    bench.injected_now("requeued")
    bench.rig.scontrol("requeue", job)
    seen = bench.resumed_in_jobs(launch, "COMPLETED")
    _as_submitted(bench, launch)
    return seen


@fault(
    "slurm-config-half-saved",
    "config.yaml and site.yaml half-saved when the job starts, the run renamed when it is requeued",
    injected="the second half of both files gone while another job holds the GPUs; in epoch 2, iteration 3"
    " the run is renamed in it, then scontrol requeue",
    must="same job id; trains and resumes as submitted, completes",
    on_rig=True,
)
def config_half_saved(bench: SlurmBench) -> Measurement:
    bench.site(sbatch=["--nice=5"])
    path = bench.folder / "config.yaml"
    whole = path.read_text()
    bench.inject(kind="wait", rank=0, epoch=2, iteration=3)
    launch, holder = bench.held_up(*STAGE1, "--configfile", "config.yaml")
    path.write_text(f"{whole[: len(whole) // 2]}: [")
    (bench.folder / "site.yaml").write_text("sbatch: [--ni")
    bench.rig.scancel(holder)
    bench.wait_for("the trainer in epoch 2", lambda: launch.ended or bench.stamps().of("fired"))
    assert not launch.ended, f"it ended before its trainer came to epoch 2, and said:\n{launch.text}"
    path.write_text(whole.replace("driving:", "renamed:"))
    bench.injected_now("requeued")
    bench.rig.scontrol("requeue", bench.the_job())
    return bench.resumed_in_jobs(launch, "COMPLETED")


@fault(
    "slurm-own-defaults",
    "defaults for sbatch in the user's environment",
    injected="SBATCH_GRES=gpu:1 SBATCH_TIMELIMIT=1 SBATCH_PARTITION=nowhere SBATCH_EXPORT=NONE; in site.yaml"
    " sbatch: [--export=NONE]",
    must="the job has what plan and config say, one line names what is not used; completes",
    on_rig=True,
)
def own_defaults(bench: SlurmBench) -> Measurement:
    bench.site(sbatch=["--export=NONE"])
    mine = {
        "SBATCH_GRES": "gpu:1",
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_PARTITION": "nowhere",
        "SBATCH_EXPORT": "NONE",
    }
    bench.injected_now("submitted")
    launch = bench.start(*STAGE1, **mine)
    launch.wait()
    bench.completes(launch)
    bench.in_jobs("COMPLETED")
    named = [line for line in launch.text.splitlines() if all(name in line for name in mine)]
    assert len(named) == 1, f"{len(named)} lines name what is not used:\n{launch.text}"
    said_s = launch.said_at(re.escape(named[0].strip()))
    (first,) = bench.attempts()
    return Measurement(said_s - launch.started_s, str(first.end), next_attempt(first), "completes")
