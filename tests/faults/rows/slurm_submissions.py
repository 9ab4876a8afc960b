"""What sbatch refuses: one run's stage fails with a sentence, the other run continues."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from faults.fault import Measurement, fault
from faults.slurm_bench import SLURM, SlurmBench

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
