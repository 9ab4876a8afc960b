"""Runs as the report sees them: their analyses are those of small written logs, their records are typed.

UniAD-like stage 1 is finished and healthy, stage 2 under way on gloo; a keypoint training prints through
MetricLogger.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.metriclogger_logs import write_metriclogger_json, write_metriclogger_log
from support.mmcv_logs import mmcv_text, write_mmcv_log
from trainrelay.analysis import analyze, read
from trainrelay.records import (
    Acceptance,
    Analysis,
    AttemptRecord,
    CheckpointFacts,
    CheckpointRecord,
    Expectation,
    Explained,
    Explanation,
    FileDigest,
    Finding,
    MetricSummary,
    Milestone,
    Overview,
    Place,
    ResumePoint,
    RunReport,
    Section,
    Sign,
    StageReport,
    TrainRecord,
    Verdict,
)

ITERS_PER_EPOCH = 3517
STARTED_S = 1_767_600_000.0
UNIAD = {"iters_per_epoch": ITERS_PER_EPOCH, "interval": 110, "warmup_iters": 500}


def analyzed(
    write: Callable[..., Path], name: str, expectation: Expectation | None = None, **options: Any
) -> Analysis:
    """What the analysis says of a log that is written for it."""
    with tempfile.TemporaryDirectory() as folder:
        log = read([write(Path(folder) / name, **options)])
    return dataclasses.replace(analyze(log, expectation), sources=(name,))


def decay(first: float, last: float, half_life: int) -> Callable[[int], float]:
    """A value that falls from first towards last; the argument is the step."""
    return lambda step: last + (first - last) * 0.5 ** (step / half_life)


@functools.cache
def stage1_analysis() -> Analysis:
    """Finished and healthy: 6 epochs, about 105 -> 47."""
    loss = {"loss": decay(105.67, 46.4, 2500)}
    return analyzed(write_mmcv_log, "train_stage1.log", epochs=6, metrics=loss, **UNIAD)


@functools.cache
def stage2_analysis() -> Analysis:
    """Under way: epoch 9 of 20, restarted once, on gloo where nccl was asked for, with two more warnings."""

    def write(path: Path, **options: Any) -> Path:
        starts = ({"stop": (5, 1240)}, {"resumed": 4, "stop": (9, 2310)})
        path.write_text("".join(mmcv_text(**options, **start) for start in starts), encoding="utf-8")
        return path

    courses = {"occ.loss_dice": lambda step: 0.98 + step / 2e5, "lr": lambda step: 1e-4}
    options = {"stage": 2, "epochs": 20, "validation": True, "metrics": courses, **UNIAD}
    return analyzed(write, "train_stage2.log", Expectation(backend="nccl"), **options)


@functools.cache
def failed_analysis() -> Analysis:
    """The loss became NaN in epoch 2."""
    loss = {"loss": lambda step: 66 - step / 1000 if step < ITERS_PER_EPOCH + 60 else math.nan}
    options = {"stage": 2, "epochs": 20, "stop": (2, 1100), "metrics": loss, **UNIAD}
    return analyzed(write_mmcv_log, "train_stage2.log", **options)


def checkpoint_facts(path: str, epoch: int, sha: str) -> CheckpointFacts:
    return CheckpointFacts(
        file=FileDigest(path=path, sha256=sha * 8, size=549_453_824),
        epoch=epoch,
        iteration=epoch * ITERS_PER_EPOCH,
        tensors=1123,
        parameters=132_512_345,
        finite=True,
    )


def attempt(
    number: int, stage: str, config: str, epochs: int, hours: tuple[float, float | None], **more: object
) -> AttemptRecord:
    """One start of the trainer; `hours` are its start and end after STARTED_S."""
    begin, end = hours
    argv = ["python", "-u", "-m", "torch.distributed.launch", "--nproc_per_node=8", "--master_port=28599"]
    argv += ["./tools/train.py", config, "--launcher", "pytorch", "--deterministic"]
    argv += ["--work-dir", f"./projects/work_dirs/{stage}/", "--cfg-options", "data.workers_per_gpu=4"]
    fields: dict[str, object] = {
        "number": number,
        "tag": f"uniad/{stage}/{number:03d}",
        "host": "gpu07",
        "supervisor_pid": 41230 + number,
        "place": Place(host="gpu07"),
        "supervisor_ticks": 1,
        "argv": argv,
        "env": {"PYTHONUNBUFFERED": "1", "PYTHONPATH": "/data/UniAD"},
        "cwd": "/data/UniAD",
        "log": f"runs/uniad/{stage}/attempts/{number:03d}/trainer.log",
        "backend": "gloo",
        "world_size": 8,
        "epochs": epochs,
        "resumed_from": None,
        "started_s": STARTED_S + begin * 3600,
        "ended_s": None if end is None else STARTED_S + end * 3600,
    }
    return AttemptRecord.model_validate(fields | more)


STAGE1_CONFIG = "./projects/configs/stage1_track_map/base_track_map.py"
STAGE2_CONFIG = "./projects/configs/stage2_e2e/base_e2e.py"
INITIAL = {"format": 1, "share": 0.714, "modules": [["img_backbone", 318, 318], ["occ_head", 0, 271]]}
STAGE1_FINAL = checkpoint_facts("/data/UniAD/projects/work_dirs/stage1/epoch_6.pth", 6, "3f9a1c07")


def stage1() -> StageReport:
    return StageReport(
        name="stage1",
        state="complete",
        state_reason="6 of 6 epochs are trained and the final checkpoint is there.",
        epochs=6,
        config=STAGE1_CONFIG,
        init_from=None,
        resources={"nodes": 1, "gpu": 8, "gpu_model": "a40", "mem_gb": 256, "runtime_min": 4320},
        ingredients={"trainer": "mmcv", "config": "ast:9d0c61f2", "seed": "0", "world size": "8"},
        attempts=(
            attempt(
                1,
                "stage1",
                STAGE1_CONFIG,
                6,
                (0.0, 49.2),
                end="done",
                reason="All 6 epochs are trained; the trainer exited 0.",
                exit_status=0,
                last_epoch=6,
                last_iteration=3510,
                iters_per_epoch=ITERS_PER_EPOCH,
                final_checkpoint=STAGE1_FINAL,
            ),
        ),
        train=TrainRecord(
            run="uniad",
            stage="stage1",
            epochs=6,
            signature="b1946ac92492d234",
            final_checkpoint=STAGE1_FINAL,
            attempts=1,
            train_s=49.2 * 3600,
            gpu_h=49.2 * 8,
            backend="gloo",
            log_files=["/data/UniAD/projects/work_dirs/stage1/20260105_080011.log"],
        ),
        checkpoint=CheckpointRecord(
            run="uniad",
            stage="stage1",
            source=STAGE1_FINAL,
            target="/data/UniAD/ckpts/full_track_map.pth",
            accepted=None,
        ),
        analysis=stage1_analysis(),
    )


def stage2() -> StageReport:
    nccl_failure = (
        "Rank 3 reported first: NCCL WARN Cuda failure 'peer access is not supported between these two "
        "devices'"
    )
    return StageReport(
        name="stage2",
        state="running",
        state_reason="Attempt 2 is alive on gpu07, in epoch 9 of 20.",
        epochs=20,
        config=STAGE2_CONFIG,
        init_from="stage1",
        resources={"nodes": 1, "gpu": 8, "gpu_model": "a40", "mem_gb": 256, "runtime_min": 7200},
        ingredients={"trainer": "mmcv", "config": "ast:51e7aa90", "seed": "0", "stage1": "b1946ac92492d234"},
        attempts=(
            attempt(
                1,
                "stage2",
                STAGE2_CONFIG,
                20,
                (49.4, 71.1),
                backend="nccl",
                end="comm",
                reason=nccl_failure,
                exit_status=1,
                last_epoch=5,
                last_iteration=1240,
                iters_per_epoch=ITERS_PER_EPOCH,
                initial=INITIAL,
            ),
            attempt(
                2,
                "stage2",
                STAGE2_CONFIG,
                20,
                (71.2, None),
                resumed_from=ResumePoint(
                    path="/data/UniAD/projects/work_dirs/stage2/epoch_4.pth",
                    epoch=4,
                    iteration=4 * ITERS_PER_EPOCH,
                ),
            ),
        ),
        analysis=stage2_analysis(),
    )


# ---------------------------------------------------------------------- whole runs


def sample_run() -> RunReport:
    """Two stages, one finished, one under way."""
    return RunReport(
        run="uniad",
        stages=(stage1(), stage2()),
        provenance={
            "trainrelay": "0.1.0",
            "snakemake": "9.27.1",
            "config file": "config.yaml",
            "trainer commit": "532fc33 (clean)",
            "written at": "2026-01-10 07:40:12 UTC",
        },
    )


# ---------------------------------------------------------------------- keypoints: MetricLogger

KEYPOINT_EPOCHS = 6


def keypoint_explanation() -> Explanation:
    """A section of each kind, and a sign of each."""
    facts = (("sign", "never negative"), ("direction", "lower is better"), ("here", "2.42 -> 0.31"))
    signs = (
        Sign("good", "Total loss decreasing over epochs", True, "66.23 -> 15.23.", "convergence"),
        Sign("good", "Classification loss rising", False, "2.42 -> 0.31", "components"),
        Sign("warning", "Loss becoming NaN or Inf", False, "All values are finite.", "non-finite"),
        Sign("warning", "Validation loss much higher", True, "18.45, where training is 15.23.", "validation"),
        Sign("warning", "Learning rate too low", None, "The log prints no schedule.", "learning-rate"),
    )
    return Explanation(
        "keypoints",
        (
            Section("The progress line", "Epoch: [1]  [   0/2882]", (Explained("eta", "time that remains"),)),
            Section(
                "Main losses",
                "The total is the sum of all scaled terms.\n\nAuxiliary layers count too.",
                (
                    Explained("loss_ce", "classification of each token: <coord>, <sep> or <eos>", facts),
                    Explained("loss_coords", "L1 distance of coordinates", (("typical", "0.2 to 1.5"),)),
                ),
            ),
            Section("What to look for", signs=signs),
        ),
    )


@functools.cache
def keypoint_analysis() -> Analysis:
    """A MetricLogger console: medians as rows, means of epochs, a validation per epoch."""
    error = {"class_error": decay(88, 9, 40)}
    found = analyzed(write_metriclogger_log, "keypoints.log", epochs=KEYPOINT_EPOCHS, metrics=error)
    rises = Finding(
        "validation",
        "warning",
        "The validation loss rises since epoch 5, while the training loss falls.",
        "loss",
        "epoch 5",
        evidence={"train": 15.23, "validation": 18.45},
        advice="Keep the checkpoint of epoch 5, or stop there.",
    )
    return dataclasses.replace(
        found,
        findings=(*(each for each in found.findings if each.check != "validation"), rises),
        verdict=Verdict("warning", rises.message),
        explanation=keypoint_explanation(),
    )


@functools.cache
def epochs_only_analysis(done: int = 4) -> Analysis:
    """A log.txt of which `done` of 6 epochs are there: epoch means only, steps are epochs."""

    def write(path: Path) -> Path:
        lines = write_metriclogger_json(path, epochs=KEYPOINT_EPOCHS).read_text("utf-8").splitlines()
        path.write_text("\n".join(lines[:done]), encoding="utf-8")
        return path

    found = analyzed(write, "log.txt", Expectation(epochs=KEYPOINT_EPOCHS))
    verdict = Verdict("healthy", "The total loss falls.")
    return dataclasses.replace(found, findings=(), verdict=verdict, explanation=None)


def keypoint_stage(state: str = "complete", analysis: Analysis | None = None) -> StageReport:
    """The one stage of the keypoint run, on the CPU."""
    end = None if state == "running" else "done"
    started = attempt(1, "pose", "main.py", 6, (0.0, 0.1 if end else None), end=end, world_size=2)
    return StageReport(
        name="pose",
        state=state,
        state_reason="6 of 6 epochs are trained and the final checkpoint is there.",
        epochs=KEYPOINT_EPOCHS,
        config="main.py",
        init_from=None,
        resources={"gpu": 0},
        ingredients={"trainer": "metriclogger"},
        attempts=(started,),
        analysis=analysis or keypoint_analysis(),
    )


def keypoint_run() -> RunReport:
    """One stage; the way back to the overview is known."""
    return RunReport(
        "keypoints", (keypoint_stage(),), {"written at": "2026-01-10 07:40:12 UTC"}, overview="../index.html"
    )


# ---------------------------------------------------------------------- parts and odd ones


def bare_stage(
    name: str = "stage2", state: str = "fresh", reason: str = "Nothing is trained yet."
) -> StageReport:
    """A stage of which nothing but the plan is known."""
    return StageReport(name, state, reason, 20, STAGE2_CONFIG, "stage1", {}, {})


def accepted(stage: StageReport, reason: str) -> StageReport:
    """The same stage with a blocking finding that was accepted."""
    assert stage.analysis is not None
    blocking = Finding(
        "initial-checkpoint",
        "critical",
        "14 of 1123 tensors of the initial checkpoint did not match the model.",
        evidence={"missing": 14, "tensors": 1123},
        advice="Check that the promoted checkpoint belongs to this config.",
        blocking=True,
    )
    analysis = dataclasses.replace(
        stage.analysis,
        findings=(*stage.analysis.findings, blocking),
        verdict=Verdict("failed", "14 tensors of the initial checkpoint did not match the model."),
    )
    acceptance = Acceptance(kind="gate", subject="3f9a1c07" * 8, reason=reason, at_s=STARTED_S + 180_000)
    return dataclasses.replace(stage, analysis=analysis, acceptance=acceptance)


def failed_stage() -> StageReport:
    """Ended for good in its second epoch: no train record, a NaN in the log."""
    diverged = attempt(
        1,
        "stage2",
        STAGE2_CONFIG,
        20,
        (49.4, 55.0),
        end="diverged",
        reason="The total loss is NaN since epoch 2, iter 60.",
        exit_status=1,
    )
    return dataclasses.replace(
        bare_stage(state="stopped", reason="Attempt 1 diverged."),
        attempts=(diverged,),
        analysis=failed_analysis(),
    )


def with_hostile_names(hostile: str) -> RunReport:
    """A run in which every piece of outside text is the same hostile string."""
    stage, analysis = stage2(), stage2_analysis()
    finding = Finding(hostile, "warning", hostile, hostile, hostile, {hostile: hostile}, hostile)
    names = (hostile, "loss", f"{hostile}.x")
    analysis = dataclasses.replace(
        analysis,
        format=hostile,
        sources=(hostile,),
        findings=(
            finding,
            dataclasses.replace(
                finding, check="components", severity="info", evidence={"group": hostile, "label": hostile}
            ),
        ),
        verdict=Verdict("failed", hostile),
        progression=(Milestone(hostile, 1, 10, 10, 3.0),),
        setup={"gpu": hostile, hostile: hostile},
        metrics={"train": dict.fromkeys(names, MetricSummary(3.0, 2.0, 2.0, 3.0, 9))},
        curves={"train": dict.fromkeys(names, analysis.curves["train"]["loss"])},
        explanation=hostile_explanation(hostile),
    )
    last = stage.attempts[0].model_copy(
        update={"reason": hostile, "host": hostile, "argv": [hostile], "backend": hostile, "log": hostile}
    )
    stage = dataclasses.replace(
        stage,
        name=hostile,
        state=hostile,
        state_reason=hostile,
        config=hostile,
        init_from=hostile,
        resources={hostile: hostile},
        ingredients={hostile: hostile},
        attempts=(last,),
        analysis=analysis,
        acceptance=Acceptance(kind="gate", subject=hostile, reason=hostile, at_s=1e300),
    )
    return RunReport(hostile, (stage,), {hostile: hostile})


def hostile_explanation(hostile: str) -> Explanation:
    item = Explained(hostile, hostile, ((hostile, hostile),))
    signs = (Sign("good", hostile, None, hostile, hostile), Sign("warning", hostile, True, hostile, hostile))
    return Explanation(hostile, (Section(hostile, hostile, (item,), signs),))


def sample_overview() -> Overview:
    """Several runs in every state, one of which nothing is known."""
    fresh = RunReport("next_experiment", (bare_stage("stage1"), bare_stage()), {})
    running = RunReport("keypoints_long", (keypoint_stage("running", epochs_only_analysis()),), {})
    failed = RunReport("uniad_lr_high", (stage1(), failed_stage()), {})
    provenance = {"written at": "2026-01-10 07:40:12 UTC", "trainrelay": "0.1.0", "results": "/data/runs"}
    return Overview((sample_run(), keypoint_run(), running, failed, fresh), provenance)
