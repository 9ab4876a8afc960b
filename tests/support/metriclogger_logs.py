"""Small, realistic logs of a keypoint training that prints through DETR's MetricLogger.

`metriclogger_text(epochs=2, ...)` is what one start prints, `write_metriclogger_log` writes it to a file,
`write_metriclogger_json` the same training's log.txt. Options: the fields of Training. `interleaved` and
`in_chunks` write the output of several ranks into each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Course = Callable[[int], float]  # iterations done over the whole run -> value

COEFFICIENTS = {"loss_ce": 2, "loss_coords": 5, "loss_ce_room": 1}
UNSCALED = {"loss_ce": (1.4, 0.5), "loss_coords": (0.30, 0.08), "loss_ce_room": (0.0, 0.0)}
SHOWN_LAYERS = ("_0", "_1", "_2", "_3", "_4", "")
# Without the values that a test sets.
ARGUMENTS = (
    "batch_size=2, cls_loss_coef=2, clip_max_norm=0.1, coords_loss_coef=5, dataset=PosixPath('data'), "
    "device='cpu', dist_backend='gloo', dist_url='env://', distributed=True, gpu=0, lr={lr}, lr_drop=200, "
    "note='a, b = (c', output_dir='work_dir', rank=0, room_cls_loss_coef=1, seed=42, start_epoch=0, "
    "world_size=2"
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """One start of a trainer. `resumed` are the finished epochs it goes on after; `stop` the (epoch counted
    from 1, iteration counted from 0) of the last training line; `first_header` the number of the first epoch
    in headers; `rank` changes times and losses a little; `metrics` replaces or adds courses."""

    epochs: int = 2
    iters_per_epoch: int = 25
    print_freq: int = 10
    val_iters: int = 12
    resumed: int | None = None
    stop: tuple[int, int] | None = None
    first_header: int = 0
    rank: int = 0
    lr: float = 1e-4
    gpu: bool = False
    delimiter: str = "  "
    introduces: bool = True
    averaged: bool = True
    test: bool = True
    summary: bool = True
    error: str | None = None
    metrics: Mapping[str, Course] = field(default_factory=dict)

    def terms(self, step: int) -> dict[str, float]:
        """Every loss of an iteration: the sum, the scaled terms, the unscaled ones."""
        scaled, unscaled = {}, {}
        for layer, suffix in enumerate(SHOWN_LAYERS):
            for name, (first, last) in UNSCALED.items():
                value = self._fall(first, last)(step) * (1 + 0.02 * (5 - layer)) + 0.001 * self.rank
                unscaled[f"{name}{suffix}_unscaled"] = value
                scaled[f"{name}{suffix}"] = COEFFICIENTS[name] * value
        return {"loss": sum(scaled.values()), **scaled, **unscaled}

    def row(self, step: int) -> dict[str, float]:
        """The metrics of one training line."""
        return {**self.terms(step), **{name: course(step) for name, course in self.metrics.items()}}

    def evaluated(self, epoch: int) -> dict[str, float]:
        """The metrics of the evaluation after an epoch (from 1)."""
        values = {name: 1.1 * value for name, value in self.terms(epoch * self.iters_per_epoch).items()}
        return {**values, "pck@0.1": 1 - math.exp(-0.5 * epoch)}

    def iterations(self) -> list[int]:
        """Those of an epoch that are logged."""
        return sorted({*range(0, self.iters_per_epoch, self.print_freq), self.iters_per_epoch - 1})

    def _fall(self, first: float, last: float) -> Course:
        steps = self.epochs * self.iters_per_epoch
        return lambda step: last + (first - last) * math.exp(-3 * step / steps)


def metriclogger_text(**options: Any) -> str:
    """The console log of one start."""
    return "".join(f"{line}\n" for line in _lines(Training(**options)))


def write_metriclogger_log(path: Path, **options: Any) -> Path:
    """Writes the console log of one start and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(metriclogger_text(**options), encoding="utf-8")
    return path


def write_metriclogger_json(path: Path, **options: Any) -> Path:
    """Writes log.txt of one start and returns its path."""
    training = Training(**options)
    rows = []
    for epoch in range((training.resumed or 0) + 1, training.epochs + 1):
        step = epoch * training.iters_per_epoch
        train = {f"train_{name}": value for name, value in {"lr": training.lr, **training.row(step)}.items()}
        test = {f"test_{name}": v for name, v in training.evaluated(epoch).items()} if training.test else {}
        number = epoch - 1 + training.first_header
        rows.append(json.dumps({**train, **test, "epoch": number, "n_parameters": 1234567}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def interleaved(texts: Sequence[str], lines: int = 1) -> str:
    """What several ranks print into one file, this many lines at a time."""
    split = [text.splitlines(keepends=True) for text in texts]
    rounds = range(0, max(map(len, split)), lines)
    return "".join("".join(rank[start : start + lines]) for start in rounds for rank in split)


def in_chunks(texts: Sequence[str], size: int) -> str:
    """What several ranks write into one file through buffers of this many characters."""
    rounds = range(0, max(map(len, texts)), size)
    return "".join(text[start : start + size] for start in rounds for text in texts)


def _lines(training: Training) -> Iterator[str]:
    if training.introduces:
        yield from _introduction(training)
    for epoch in range((training.resumed or 0) + 1, training.epochs + 1):
        for iteration in training.iterations():
            if training.stop is not None and (epoch, iteration) > training.stop:
                yield from _end(training)
                return
            yield _training_line(training, epoch, iteration)
        yield from _after(training, epoch)
    yield from _end(training)
    if not training.error:
        yield "Training time 0:04:18"


def _introduction(training: Training) -> Iterator[str]:
    resume = "work_dir/checkpoint.pth" if training.resumed else ""
    arguments = ARGUMENTS.format(lr=training.lr)
    yield f"| distributed init (rank {training.rank}): env://"
    yield f"Namespace({arguments}, epochs={training.epochs}, resume={resume!r})"
    yield "number of params: 1234567"
    yield "Start training"


def _end(training: Training) -> Iterator[str]:
    if training.error:
        yield "Traceback (most recent call last):"
        yield '  File "main.py", line 158, in <module>'
        yield training.error


def _header(training: Training, epoch: int) -> str:
    return f"Epoch: [{epoch - 1 + training.first_header}]"


def _training_line(training: Training, epoch: int, iteration: int) -> str:
    step = (epoch - 1) * training.iters_per_epoch + iteration + 1
    meters = [f"lr: {training.lr:.6f}", *_meters(training.row(step), over=1.25)]
    return _progress(training, _header(training, epoch), iteration, training.iters_per_epoch, meters)


def _after(training: Training, epoch: int) -> Iterator[str]:
    means = training.row(epoch * training.iters_per_epoch)
    yield f"{_header(training, epoch)} Total time: 0:00:08 (0.3417 s / it)"
    if training.averaged:
        yield "Averaged stats: " + training.delimiter.join(
            [f"lr: {training.lr:.6f}", *_meters(means, over=2)]
        )
    tested = training.evaluated(epoch)
    if training.test:
        yield from _test(training, tested)
    if training.summary:
        yield from _summary(epoch, means["loss"] * 2, tested if training.test else {})


def _test(training: Training, values: Mapping[str, float]) -> Iterator[str]:
    for iteration in sorted({*range(0, training.val_iters, 10), training.val_iters - 1}):
        yield _progress(training, "Test:", iteration, training.val_iters, _meters(values, over=1))
    yield "Test: Total time: 0:00:02 (0.1642 s / it)"
    if training.averaged:
        yield "Averaged stats: " + training.delimiter.join(_meters(values, over=1))


def _summary(epoch: int, loss: float, tested: Mapping[str, float]) -> Iterator[str]:
    yield f"Epoch {epoch} Summary:"
    yield f"  Train Loss: {loss:.4f}"
    if tested:
        yield f"  Val Loss: {tested['loss']:.4f}"
        yield f"  Val PCK@0.1: {tested['pck@0.1']:.4f}"


def _meters(values: Mapping[str, float], over: float) -> list[str]:
    """`name: v (g)`; the mean of an epoch is above its last median while the loss falls."""
    return [f"{name}: {value:.4f} ({over * value:.4f})" for name, value in values.items()]


def _progress(training: Training, header: str, iteration: int, length: int, meters: list[str]) -> str:
    place = f"[{iteration:{len(str(length))}d}/{length}]"
    times = [f"time: {0.3417 + 0.01 * training.rank:.4f}", f"data: {0.0766 - 0.001 * training.rank:.4f}"]
    memory = ["max mem: 3887"] if training.gpu else []
    return training.delimiter.join([header, place, "eta: 0:08:13", *meters, *times, *memory])
