"""A run as the report sees it: UniAD-like stage 1 finished and healthy, stage 2 under way on gloo.

The numbers follow what such trainings log: stage 1 falls from 105.67 to about 47 in 6 epochs of 3517
iterations, its gradient norm stays around 50-60 under a clip value of 35.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from trainrelay.records import (
    Acceptance,
    Analysis,
    AttemptRecord,
    CheckpointFacts,
    CheckpointRecord,
    Explained,
    Explanation,
    FileDigest,
    Finding,
    MetricSummary,
    Milestone,
    Overview,
    Phase,
    Progress,
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
Points = list[tuple[int, float]]


# ---------------------------------------------------------------------- curves


def decay(first: float, last: float, half_life: float = 0.12) -> Callable[[float], float]:
    """A value that falls from first towards last; the argument is the fraction of the training."""

    def at(fraction: float) -> float:
        wobble = 0.012 * first * math.sin(151 * fraction) * math.exp(-fraction)
        value = last + (first - last) * 0.5 ** (fraction / half_life)
        return value + (wobble if 0 < fraction < 1 else 0.0)

    return at


def cosine_staircase(epochs: int) -> Callable[[float], float]:
    """Cosine decay by epoch from 2e-4, after a short linear warm-up."""

    def at(fraction: float) -> float:
        epoch = min(int(fraction * epochs), epochs - 1)
        peak = 1e-6 + (2e-4 - 1e-6) * (1 + math.cos(math.pi * epoch / epochs)) / 2
        return peak * min(1.0, 1 / 3 + fraction * epochs * ITERS_PER_EPOCH / 500 * 2 / 3)

    return at


def points(shape: Callable[[float], float], epochs: int, done: float = 1.0, count: int = 240) -> Points:
    """A curve of `count` points over the part of the training that is done."""
    last = round(epochs * ITERS_PER_EPOCH * done) // 10 * 10
    steps = [10 + round(place * (last - 10) / (count - 1)) for place in range(count)]
    digits = 9 if 0 < shape(0) < 1e-2 else 4  # learning rates need more of them
    return [(step, round(shape((step - 10) / (epochs * ITERS_PER_EPOCH - 10)), digits)) for step in steps]


def summary(curve: Points) -> MetricSummary:
    """First, last and extremes of a curve, NaN left out of the extremes."""
    values = [value for _, value in curve]
    finite = [value for value in values if not math.isnan(value)] or [math.nan]
    return MetricSummary(values[0], values[-1], min(finite), max(finite), len(values))


def track_shapes() -> dict[str, Callable[[float], float]]:
    shapes: dict[str, Callable[[float], float]] = {}
    for frame in range(3):
        for layer in range(6):
            bonus = 1 - 0.01 * layer + 0.02 * frame
            shapes[f"track.frame_{frame}_loss_cls_{layer}"] = decay(1.24 * bonus, 0.68 * bonus)
            shapes[f"track.frame_{frame}_loss_bbox_{layer}"] = decay(2.35 * bonus, 0.89 * bonus)
            shapes[f"track.frame_{frame}_loss_past_trajs_{layer}"] = lambda _: 0.0
    return shapes


def map_shapes() -> dict[str, Callable[[float], float]]:
    shapes = {
        "map.loss_cls": decay(1.21, 0.68),
        "map.loss_bbox": decay(1.69, 0.65),
        "map.loss_iou": decay(2.03, 1.45),
        "map.loss_mask_things": decay(1.86, 1.58),
        "map.loss_mask_stuff": decay(0.06, 0.03),
    }
    for layer in range(4):
        shapes[f"map.d{layer}.loss_mask_things_f"] = decay(1.9, 1.6)
        shapes |= {f"map.d{layer}.loss_{kind}_f": lambda _: 0.0 for kind in ("iou", "bbox", "cls")}
    for layer in range(5):
        shapes[f"map.d{layer}.loss_cls"] = decay(1.25, 0.72)
        shapes[f"map.d{layer}.loss_bbox"] = decay(1.75, 0.70)
        shapes[f"map.d{layer}.loss_iou"] = decay(2.06, 1.49)
    return shapes


def end_to_end_shapes() -> dict[str, Callable[[float], float]]:
    shapes: dict[str, Callable[[float], float]] = {}
    for prefix in ("motion", "motion.d0", "motion.d1", "motion.d2"):
        shapes[f"{prefix}.loss_traj"] = decay(9.8, 2.1)
        shapes[f"{prefix}.l_class"] = decay(1.79, 1.02)
        shapes[f"{prefix}.l_reg"] = decay(4.1, -1.3)
        shapes[f"{prefix}.min_ade"] = decay(2.9, 0.93)
        shapes[f"{prefix}.min_fde"] = decay(4.6, 1.42)
        shapes[f"{prefix}.mr"] = decay(0.46, 0.19)
    for name, first, last in (("dice", 0.98, 0.61), ("mask", 0.72, 0.33), ("aux_dice", 0.99, 0.66)):
        shapes[f"occ.loss_{name}"] = decay(first, last)
    shapes |= {f"planning.loss_collision_{step}": lambda _: 0.0 for step in range(3)}
    shapes["planning.loss_ade"] = decay(3.4, 1.05)
    return shapes


def curves(shapes: dict[str, Callable[[float], float]], epochs: int, done: float) -> dict[str, Points]:
    return {name: points(shape, epochs, done) for name, shape in shapes.items()}


# ---------------------------------------------------------------------- stage 1


def stage1_analysis() -> Analysis:
    """Finished and healthy: 6 epochs, 105.67 -> about 47."""
    shapes = {"lr": cosine_staircase(6), **track_shapes(), **map_shapes(), "loss": decay(105.67, 46.4)}
    shapes["grad_norm"] = lambda fraction: 55 + 5 * math.sin(60 * fraction) + 120 * math.exp(-80 * fraction)
    train = curves(shapes, 6, 1.0)
    return Analysis(
        format="mmcv-text",
        sources=("train_stage1.log",),
        segments=1,
        epochs=6,
        iterations=6 * ITERS_PER_EPOCH,
        progress=Progress(6, 3510, ITERS_PER_EPOCH, 6, 1.0, finished=True),
        metrics={"train": {name: summary(curve) for name, curve in train.items()}},
        findings=STAGE1_FINDINGS,
        verdict=Verdict("healthy", "All 6 epochs are trained and the total loss fell by 56%."),
        total="loss",
        progression=(
            Milestone("Epoch 1, iter 10 (start)", 1, 10, 10, 105.67),
            Milestone("Epoch 1, iter 100", 1, 100, 100, 81.68),
            Milestone("Epoch 1, iter 610 (lr warmup done)", 1, 610, 610, 66.16),
            Milestone("Epoch 1, iter 3510 (end)", 1, 3510, 3510, 55.46),
            Milestone("Epoch 2, iter 10", 2, 10, 3527, 56.70),
            Milestone("Epoch 3, iter 10", 3, 10, 7044, 53.25),
            Milestone("Epoch 6, iter 3510 (latest)", 6, 3510, 21095, 46.95),
        ),
        setup={
            "gpus": "8",
            "gpu": "NVIDIA A40",
            "torch": "1.12.1",
            "cuda": "11.8",
            "backend": "gloo",
            "host": "gpu07",
        },
        curves={"train": train},
    )


def course(metric: str, label: str, said: str, members: int = 1) -> Finding:
    """What the check of the components says of one family."""
    group = metric.partition(".")[0]
    evidence = {"group": group, "family": metric, "label": label, "members": members}
    return Finding("components", "info", f"{group}: {label} {said}.", metric, evidence=evidence)


TRACK_FINDINGS = (
    course("track.*loss_cls*", "classification loss", "1.24 -> 0.68 (45% lower, steady decrease)", 18),
    course("track.*loss_bbox*", "bbox loss", "2.35 -> 0.89 (62% lower, strong improvement)", 18),
    course(
        "track.*loss_past_trajs*",
        "past trajectory loss",
        "remains 0.0 throughout, as expected in stage 1",
        18,
    ),
)
MAP_FINDINGS = (
    course("map.loss_cls", "cls loss of the last layer", "1.21 -> 0.68 (44% lower, steady decrease)"),
    course("map.loss_bbox", "bbox loss of the last layer", "1.69 -> 0.65 (62% lower, strong improvement)"),
    course("map.loss_iou", "iou loss of the last layer", "2.03 -> 1.45 (29% lower, steady decrease)"),
    course("map.loss_mask_things", "mask loss of things", "1.86 -> 1.58 (15% lower)"),
    course("map.loss_mask_stuff", "mask loss of stuff", "0.06 -> 0.03 (50% lower, strong improvement)"),
    course("map.d*.loss_iou_f", "filtered iou loss", "remains 0.0 throughout, as expected", 4),
)
MOTION_FINDINGS = (
    course(
        "motion.min_ade",
        "minimum average displacement error",
        "2.90 -> 1.11 m (62% lower, strong improvement)",
    ),
    course("motion.*l_reg", "regression likelihood", "4.10 -> -0.84 (no direction is better)", 4),
)
STAGE1_FINDINGS = (
    Finding("progress", "info", "6 of 6 epochs are trained."),
    Finding(
        "convergence",
        "info",
        "Healthy convergence: the total loss dropped from ~105.67 to ~46.95, a ~56% reduction.",
        "loss",
        evidence={"first": 105.67, "last": 46.95},
    ),
    *TRACK_FINDINGS,
    *MAP_FINDINGS,
    Finding(
        "grad-norm",
        "info",
        "Stable around 50-60 before clipping at 35; no sign of explosion or vanishing.",
        "grad_norm",
        evidence={"clip": 35.0, "median": 55.2},
    ),
    Finding(
        "learning-rate",
        "info",
        "The learning rate peaked at 2e-4 and is 1.36e-5 now, as configured (CosineAnnealing).",
        "lr",
        evidence={"policy": "cosineannealing"},
    ),
    Finding("plateau", "info", "The descent slowed in epochs 5-6, as it does near convergence.", "loss"),
    Finding(
        "backend",
        "info",
        "The gloo backend is in use on GPUs; it works, and is slower than NCCL.",
        advice="Try NCCL with NCCL_P2P_DISABLE=1 before settling for gloo.",
    ),
)


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
        "supervisor_start_s": STARTED_S + begin * 3600,
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


# ---------------------------------------------------------------------- stage 2


def stage2_analysis() -> Analysis:
    """Under way: epoch 9 of 20, restarted once on gloo."""
    done = (8 + 2310 / ITERS_PER_EPOCH) / 20
    shapes = {"lr": cosine_staircase(20), **track_shapes(), **map_shapes(), **end_to_end_shapes()}
    shapes |= {"loss": decay(78.31, 38.2), "grad_norm": lambda fraction: 48 + 4 * math.sin(90 * fraction)}
    train = curves(shapes, 20, done)
    validation = {"loss": [(ITERS_PER_EPOCH * 4, 49.8), (ITERS_PER_EPOCH * 8, 45.1)]}
    return Analysis(
        format="mmcv-text",
        sources=("train_stage2.log", "20260108_101500.log"),
        segments=2,
        epochs=9,
        iterations=8 * ITERS_PER_EPOCH + 2310,
        progress=Progress(9, 2310, ITERS_PER_EPOCH, 20, done, finished=False),
        metrics={
            "train": {name: summary(curve) for name, curve in train.items()},
            "val": {"loss": summary(validation["loss"]), "NDS": MetricSummary(0.31, 0.37, 0.31, 0.37, 2)},
        },
        findings=STAGE2_FINDINGS,
        verdict=Verdict(
            "warning", "The training goes on from epoch 4 after a communication failure, on gloo."
        ),
        total="loss",
        progression=(
            Milestone("Epoch 1, iter 10 (start)", 1, 10, 10, 78.31),
            Milestone("Epoch 1, iter 3510 (end)", 1, 3510, 3510, 66.80),
            Milestone("Epoch 5, iter 10", 5, 10, 14078, 48.97),
            Milestone("Epoch 9, iter 2310 (latest)", 9, 2310, 30446, 40.62),
        ),
        setup={"gpus": "8", "gpu": "NVIDIA A40", "torch": "1.12.1", "cuda": "11.8", "backend": "gloo"},
        curves={"train": train, "val": validation},
    )


STAGE2_FINDINGS = (
    Finding("progress", "info", "Epoch 9 of 20 is under way."),
    Finding("convergence", "info", "The total loss fell from 78.31 to 40.62, a 48% reduction.", "loss"),
    Finding(
        "backend",
        "warning",
        "nccl failed its probe after attempt 1, so gloo is used; a step takes 1.4 times as long.",
        evidence={"asked": "nccl", "used": "gloo", "all_reduce_gb_s": 1.8},
        advice="Try NCCL_P2P_DISABLE=1 on this node; PCIe boards often need it.",
    ),
    Finding("resume", "info", "The restart resumed at epoch 4, iter 14068; 1240 iterations were redone."),
    Finding(
        "grad-norm",
        "warning",
        "Every one of the last 500 steps was clipped: the norm stays near 48 and the clip value is 35.",
        "grad_norm",
        "epoch 9, iter 2310",
        evidence={"clip": 35.0, "clipped_fraction": 1.0},
        advice="Usual for this model; raise grad_clip.max_norm only if the loss stalls.",
    ),
    *TRACK_FINDINGS[:2],
    *MAP_FINDINGS[:2],
    *MOTION_FINDINGS,
    Finding(
        "components",
        "warning",
        "occ: dice loss 0.98 -> 1.14, up 16% from its level at the start (0.98).",
        "occ.loss_dice",
        evidence={"group": "occ", "label": "dice loss", "members": 1, "first": 0.98, "now": 1.14},
        advice="See whether the total loss falls at this component's cost, and check its weight.",
    ),
    course("planning.loss_ade", "average displacement loss", "3.40 -> 1.26 (63% lower, strong improvement)"),
    Finding("attempts", "info", "2 attempts: 1 comm, 1 running."),
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

KEYPOINT_ITERS = 120
KEYPOINT_EPOCHS = 6
EPOCH_MEANS = {"loss": (66.23, 15.23), "loss_ce": (2.42, 0.31), "loss_coords": (3.6, 1.12)}


def keypoint_shapes() -> dict[str, Callable[[float], float]]:
    """The terms of six decoder layers, scaled and unscaled, as the keypoint system prints them."""
    shapes: dict[str, Callable[[float], float]] = {"lr": lambda _: 1e-4, "loss": decay(68.4, 14.8)}
    shapes["class_error"] = decay(88.0, 9.0)
    for name, first, last, coefficient in (
        ("ce", 2.5, 0.3, 2),
        ("coords", 3.9, 1.1, 5),
        ("ce_room", 0, 0, 1),
    ):
        for place, layer in enumerate(("", "_0", "_1", "_2", "_3", "_4")):
            worse = 1 + 0.05 * ((6 - place) % 6)
            shapes[f"loss_{name}{layer}"] = decay(first * worse, last * worse)
            shapes[f"loss_{name}{layer}_unscaled"] = decay(
                first * worse / coefficient, last * worse / coefficient
            )
    return shapes


def keypoint_points(shape: Callable[[float], float], done: float = 1.0) -> Points:
    steps = range(1, round(KEYPOINT_EPOCHS * KEYPOINT_ITERS * done) + 1, 10)
    return [(step, round(shape(step / (KEYPOINT_EPOCHS * KEYPOINT_ITERS)), 4)) for step in steps]


def by_epoch(
    first: float, last: float, epochs: int = KEYPOINT_EPOCHS, length: int = KEYPOINT_ITERS
) -> Points:
    """One value per epoch, at its end."""
    shape = decay(first, last, 0.3)
    return [
        (epoch * length, round(shape((epoch - 1) / max(epochs - 1, 1)), 4)) for epoch in range(1, epochs + 1)
    ]


def keypoint_explanation() -> Explanation:
    """What the notes of such a system say, judged by the numbers of this sample."""
    return Explanation(
        "keypoints",
        (
            Section(
                "The progress line",
                "Epoch: [1]  [   0/2882]  eta: 3:50:41  lr: 0.000100",
                (
                    Explained("Epoch: [1]", "the epoch, counted from 0", (("here", "[0] to [5]"),)),
                    Explained("[0/2882]", "batches done and all batches of the epoch", (("here", "120"),)),
                    Explained("eta", "estimated time that remains in this epoch", (("unit", "h:mm:ss"),)),
                ),
            ),
            Section(
                "Main losses",
                "The total is the sum of all scaled terms.\n\nAuxiliary layers count too.",
                (
                    Explained(
                        "loss_ce",
                        "classification of each token: <coord>, <sep> or <eos>",
                        (
                            ("sign", "a correct cross-entropy is never negative"),
                            ("direction", "lower is better"),
                            ("coefficient", "2 (cls_loss_coef)"),
                            ("here", "2.42 -> 0.31"),
                        ),
                    ),
                    Explained(
                        "loss_coords",
                        "L1 distance of predicted and true coordinates",
                        (
                            ("typical", "0.2 to 1.5, unscaled"),
                            ("direction", "lower is better"),
                            ("here", "3.60 -> 1.12"),
                        ),
                    ),
                    Explained("loss_ce_room", "category of the object; 0.0 without CLS tokens"),
                ),
            ),
            Section(
                "What to look for",
                signs=(
                    Sign("good", "Total loss decreasing over epochs", True, "66.23 -> 15.23.", "convergence"),
                    Sign("good", "Coordinate loss decreasing", True, "3.60 -> 1.12, 69% lower", "components"),
                    Sign(
                        "good",
                        "Classification loss becoming more negative",
                        False,
                        "2.42 -> 0.31: it falls and stays positive, as a correct cross-entropy does.",
                        "negative-cross-entropy",
                    ),
                    Sign(
                        "warning", "Loss becoming NaN or Inf", False, "All values are finite.", "non-finite"
                    ),
                    Sign(
                        "warning",
                        "Validation loss much higher than training",
                        True,
                        "The validation loss is 18.45 where training is 15.23, and rises since epoch 5.",
                        "validation",
                    ),
                    Sign(
                        "warning",
                        "Learning rate too low",
                        None,
                        "The log prints no schedule.",
                        "learning-rate",
                    ),
                ),
            ),
        ),
    )


def keypoint_analysis() -> Analysis:
    """A MetricLogger console: medians as rows, means of epochs, a validation per epoch."""
    train = {name: keypoint_points(shape) for name, shape in keypoint_shapes().items()}
    epoch = {name: by_epoch(first, last) for name, (first, last) in EPOCH_MEANS.items()}
    val = {"loss": by_epoch(37.53, 18.45), "loss_ce": by_epoch(2.2, 0.4), "pck@0.1": by_epoch(0.11, 0.83)}
    curves: dict[Phase, dict[str, Points]] = {"train": train, "epoch": epoch, "val": val}
    return Analysis(
        format="metriclogger-text",
        sources=("keypoints.log",),
        segments=1,
        epochs=KEYPOINT_EPOCHS,
        iterations=KEYPOINT_EPOCHS * KEYPOINT_ITERS,
        progress=Progress(KEYPOINT_EPOCHS, 119, KEYPOINT_ITERS, KEYPOINT_EPOCHS, 1.0, finished=True),
        metrics={
            phase: {name: summary(each) for name, each in found.items()} for phase, found in curves.items()
        },
        findings=(
            Finding("progress", "info", "All 6 epochs were trained."),
            Finding("convergence", "info", "Healthy convergence: the total loss fell by 77%.", "loss"),
            Finding("auxiliary", "info", "All 10 auxiliary losses fall."),
            Finding(
                "validation",
                "warning",
                "The validation loss rises since epoch 5, while the training loss falls.",
                "loss",
                "epoch 5",
                evidence={"train": 15.23, "validation": 18.45},
                advice="Keep the checkpoint of epoch 5, or stop there.",
            ),
        ),
        verdict=Verdict("warning", "The validation loss rises since epoch 5."),
        total="loss",
        progression=(
            Milestone("Epoch 1, iter 0 (start)", 1, 0, 1, 68.4),
            Milestone("Epoch 6, iter 119 (latest)", 6, 119, 720, 15.0),
        ),
        setup={"backend": "gloo", "ranks": "2"},
        explanation=keypoint_explanation(),
        curves=curves,
    )


def epochs_only_analysis(done: int = 4) -> Analysis:
    """A log.txt of which `done` of 6 epochs are there: epoch means only, steps are epochs."""
    train = {name: by_epoch(*ends, length=1)[:done] for name, ends in EPOCH_MEANS.items()}
    val = {"loss": by_epoch(37.53, 18.45, length=1)[:done], "pck@0.1": by_epoch(0.11, 0.83, length=1)[:done]}
    curves: dict[Phase, dict[str, Points]] = {"train": train, "val": val}
    return dataclasses.replace(
        keypoint_analysis(),
        format="metriclogger-json",
        sources=("log.txt",),
        epochs=done,
        iterations=0,
        progress=Progress(done, 0, None, KEYPOINT_EPOCHS, done / KEYPOINT_EPOCHS, finished=False),
        metrics={
            phase: {name: summary(each) for name, each in found.items()} for phase, found in curves.items()
        },
        findings=(),
        verdict=Verdict("healthy", "The total loss falls."),
        progression=(
            Milestone("Epoch 1 (start)", 1, 0, 1, 66.23),
            Milestone("Epoch 4 (latest)", 4, 0, 4, 25.1),
        ),
        explanation=None,
        epochs_only=True,
        curves=curves,
    )


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
    """The same stage with a blocking finding that a person accepted."""
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
    """Ended for good in its first epoch: no train record, a NaN in the log."""
    analysis = stage2_analysis()
    train = {name: list(curve[:40]) for name, curve in analysis.curves["train"].items()}
    train["loss"] = [
        (step, math.nan if 25 <= place < 30 else value) for place, (step, value) in enumerate(train["loss"])
    ]
    critical = Finding(
        "non-finite",
        "critical",
        "The total loss became NaN.",
        "loss",
        "epoch 2, iter 60",
        evidence={"last finite": 63.1, "grad_norm": math.inf},
        advice="Resume from epoch_1.pth with a lower learning rate.",
        blocking=True,
    )
    analysis = dataclasses.replace(
        analysis,
        segments=1,
        findings=(critical,),
        verdict=Verdict("failed", "The total loss became NaN in epoch 2."),
        metrics={"train": {name: summary(curve) for name, curve in train.items()}},
        curves={"train": train},
        progress=Progress(2, 60, ITERS_PER_EPOCH, 20, 0.05, finished=False),
    )
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
        bare_stage(state="stopped", reason="Attempt 1 diverged."), attempts=(diverged,), analysis=analysis
    )


def with_hostile_names(hostile: str) -> RunReport:
    """A run in which every piece of outside text is the same hostile string."""
    stage, analysis = stage2(), stage2_analysis()
    finding = Finding(hostile, "warning", hostile, hostile, hostile, {hostile: hostile}, hostile)
    curve = analysis.curves["train"]["loss"]
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
        metrics={"train": {hostile: summary(curve), "loss": summary(curve), f"{hostile}.x": summary(curve)}},
        curves={"train": {hostile: curve, "loss": curve, f"{hostile}.x": curve}},
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
