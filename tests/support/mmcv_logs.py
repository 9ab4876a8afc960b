"""Small, realistic logs of an mmcv 1.x training with UniAD's metrics, written from the format itself.

`write_mmcv_log(path, stage=1, epochs=2, ...)` writes what mmcv's TextLoggerHook, CheckpointHook and
runner print; `write_mmcv_json_log` the same training as `*.log.json`. Options: the fields of Training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Course = Callable[[int], float]  # global step -> value

# family -> (first value, last value), as a healthy training of UniAD has them
TRACK = {"loss_cls": (1.24, 0.68), "loss_bbox": (2.35, 0.90)}
MAP_LAST = {
    "loss_cls": (1.21, 0.68),
    "loss_bbox": (1.69, 0.65),
    "loss_iou": (2.03, 1.45),
    "loss_mask_things": (1.86, 1.58),
    "loss_mask_stuff": (0.06, 0.03),
}
STAGE_TWO = {
    "motion.l_class": (1.6, 0.8),
    "motion.l_reg": (1.2, -0.9),
    "motion.loss_traj": (2.8, -0.1),
    "motion.min_ade": (1.9, 0.8),
    "motion.min_fde": (3.9, 1.4),
    "motion.mr": (0.45, 0.2),
    "occ.loss_dice": (0.9, 0.5),
    "occ.loss_mask": (0.5, 0.2),
    "occ.loss_aux_dice": (0.9, 0.5),
    "occ.loss_aux_mask": (0.5, 0.2),
    "planning.loss_collision_0": (0.0, 0.0),
    "planning.loss_ade": (2.5, 0.9),
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """One start of a trainer. `stop` is the (epoch, iteration) of the last logged line; `resumed` the
    finished epochs it resumes after, `after` the place within an epoch that it then continues at; `metrics`
    replaces or adds courses of single metrics."""

    stage: int = 1
    frames: int = 3
    epochs: int = 2
    iters_per_epoch: int = 100
    interval: int = 10
    resumed: int | None = None
    after: tuple[int, int] = (0, 0)
    resume_from: str = "work_dir/latest.pth"
    stop: tuple[int, int] | None = None
    base_lr: float = 2e-4
    warmup_iters: int = 50
    clip: float = 35.0
    backend: str = "gloo"
    gpus: int = 8
    load_from: str | None = None
    saves: bool = True
    validation: bool = False
    error: str | None = None
    metrics: Mapping[str, Course] = field(default_factory=dict)
    started: datetime = datetime(2024, 5, 1, 12, tzinfo=UTC)

    def courses(self) -> dict[str, Course]:
        """Every metric as a function of the global step; the total is their sum unless it is given."""
        found = {name: self._fall(first, last) for name, (first, last) in self._components().items()}
        found.update({name: course for name, course in self.metrics.items() if name not in ("loss", "lr")})
        return found

    def row(self, step: int) -> dict[str, float]:
        """The metrics of one logged line, the total and the gradient norm last."""
        values = {name: course(step) for name, course in self.courses().items() if name != "grad_norm"}
        total = sum(round(value, 4) for name, value in values.items() if "loss" in name)
        values["loss"] = self.metrics["loss"](step) if "loss" in self.metrics else total
        norm = self.metrics.get("grad_norm", lambda at: 55.0 + 5.0 * math.sin(at))
        return {**values, "grad_norm": norm(step)}

    def lr(self, step: int) -> float:
        """mmcv's CosineAnnealing by epoch under a linear warm-up from a third, at a 1-based step."""
        if "lr" in self.metrics:
            return self.metrics["lr"](step)
        epoch, iteration = (step - 1) // self.iters_per_epoch, step - 1
        low = self.base_lr * 1e-3
        regular = low + 0.5 * (self.base_lr - low) * (math.cos(math.pi * epoch / self.epochs) + 1)
        if iteration >= self.warmup_iters:
            return regular
        return regular * (1 - (1 - iteration / self.warmup_iters) * (1 - 1 / 3))

    def places(self) -> Iterator[tuple[int, int]]:
        """(epoch, iteration) of each logged line."""
        for epoch in range((self.resumed or 0) + 1, self.epochs + 1):
            for iteration in range(self.interval, self.iters_per_epoch + 1, self.interval):
                if self.after < (epoch, iteration) <= (self.stop or (epoch, iteration)):
                    yield epoch, iteration

    def _fall(self, first: float, last: float) -> Course:
        steps = self.epochs * self.iters_per_epoch
        return lambda step: last + (first - last) * math.exp(-5 * step / steps)

    def _components(self) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        for frame in range(self.frames):
            for layer in range(6):
                for name, course in TRACK.items():
                    found[f"track.frame_{frame}_{name}_{layer}"] = course
                past = (0.4, 0.2) if self.stage == 2 else (0.0, 0.0)
                found[f"track.frame_{frame}_loss_past_trajs_{layer}"] = past
        found.update({f"map.{name}": course for name, course in MAP_LAST.items()})
        for layer in range(4):
            found[f"map.d{layer}.loss_cls"] = (1.3, 0.7)
            found[f"map.d{layer}.loss_iou_f"] = (0.0, 0.0)
        return {**found, **(STAGE_TWO if self.stage == 2 else {})}


def mmcv_text(**options: Any) -> str:
    """The text log of one start."""
    return "".join(_lines(Training(**options)))


def write_mmcv_log(path: Path, **options: Any) -> Path:
    """Writes the text log of one start and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(mmcv_text(**options), encoding="utf-8")
    return path


def write_mmcv_json_log(path: Path, **options: Any) -> Path:
    """Writes the JSON log of one start and returns its path."""
    training = Training(**options)
    meta = {"env_info": _environment(training), "config": _config(training), "seed": 0, "exp_name": "x.py"}
    rows = [json.dumps(meta)]
    for epoch, iteration in training.places():
        step = (epoch - 1) * training.iters_per_epoch + iteration
        values = {
            "lr": training.lr(step),
            "memory": 27000,
            "data_time": 0.1,
            **training.row(step),
            "time": 2.3,
        }
        rounded = {name: round(value, 5) for name, value in values.items()}
        rows.append(json.dumps({"mode": "train", "epoch": epoch, "iter": iteration, **rounded}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _lines(training: Training) -> Iterator[str]:
    # A later start of the same training is a day later, so that no line is a copy of an earlier one.
    clock = training.started + timedelta(days=training.resumed or 0)
    stamp = _Stamp(clock)
    yield stamp(f"Environment info:\n{_environment(training)}")
    yield stamp("Distributed training: True")
    yield stamp(f"Config:\n{_config(training)}")
    if training.resumed is not None:
        yield stamp(f"load checkpoint from local path: {training.resume_from}")
        yield stamp(f"resumed epoch {training.resumed}, iter {training.resumed * training.iters_per_epoch}")
    elif training.load_from:
        yield stamp(f"load checkpoint from local path: {training.load_from}")
    yield stamp("Start running, host: user@node1, work_dir: /train/uniad")
    yield stamp(f"workflow: [('train', 1)], max: {training.epochs} epochs")
    yield from _rows(training, stamp)
    if training.error:
        yield f'Traceback (most recent call last):\n  File "tools/train.py", line 256\n{training.error}\n'


def _rows(training: Training, stamp: _Stamp) -> Iterator[str]:
    length = training.iters_per_epoch
    for epoch, iteration in training.places():
        step = (epoch - 1) * length + iteration
        values = ", ".join(f"{name}: {value:.4f}" for name, value in training.row(step).items())
        head = f"lr: {training.lr(step):.3e}, eta: 2 days, 5:46:49, time: 2.295, data_time: 0.149"
        memory = ", memory: 27000" if training.gpus else ""
        yield stamp(f"Epoch [{epoch}][{iteration}/{length}]\t{head}{memory}, {values}")
        if iteration + training.interval > length:
            if training.saves:
                yield stamp(f"Saving checkpoint at {epoch} epochs")
            if training.validation:
                yield stamp(
                    f"Epoch(val) [{epoch}][753]\tpts_bbox_NuScenes/mAP: {0.1 * epoch:.4f}, AP (M): 0.2"
                )


class _Stamp:
    """A record of the logger; each one comes 20 seconds after the one before."""

    def __init__(self, clock: datetime) -> None:
        self._clock = clock

    def __call__(self, message: str) -> str:
        self._clock += timedelta(seconds=20)
        return f"{self._clock:%Y-%m-%d %H:%M:%S},011 - mmdet - INFO - {message}\n"


def _environment(training: Training) -> str:
    indices = ",".join(str(index) for index in range(training.gpus))
    gpus = f"GPU {indices}: NVIDIA A40\n" if training.gpus else ""
    return (
        "------------------------------------------------------------\n"
        f"sys.platform: linux\nCUDA available: {bool(training.gpus)}\n{gpus}PyTorch: 1.12.1\n"
        "PyTorch compiling details: PyTorch built with:\n  - CUDA Runtime 11.8\n"
        "------------------------------------------------------------\n"
    )


def _config(training: Training) -> str:
    return f"""\
checkpoint_config = dict(interval=1)
log_config = dict(
    interval={training.interval}, hooks=[dict(type='TextLoggerHook')])
dist_params = dict(backend='{training.backend}')
load_from = {training.load_from!r}
optimizer = dict(
    type='AdamW',
    lr={training.base_lr},
    paramwise_cfg=dict(custom_keys=dict(img_backbone=dict(lr_mult=0.1))),
    weight_decay=0.01)
optimizer_config = dict(grad_clip=dict(max_norm={training.clip:g}, norm_type=2))
lr_config = dict(
    policy='CosineAnnealing',
    warmup='linear',
    warmup_iters={training.warmup_iters},
    warmup_ratio=0.3333333333333333,
    min_lr_ratio=0.001)
total_epochs = {training.epochs}
runner = dict(type='EpochBasedRunner', max_epochs={training.epochs})
"""
