"""Logs of the keypoint system as tables, without a reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from trainrelay.records import Log, Row

Course = Callable[[float], float]  # epoch, with a fraction -> value

COEFFICIENTS = {"loss_ce": 2.0, "loss_coords": 5.0, "loss_ce_room": 1.0}
CONFIG = {
    "epochs": 6,
    "batch_size": 2,
    "lr": 1e-4,
    "lr_drop": 5,
    "clip_max_norm": 0.1,
    "cls_loss_coef": 2,
    "coords_loss_coef": 5,
    "room_cls_loss_coef": 1,
    "cls_tokens": False,
}


def fall(first: float, last: float, epochs: float = 6) -> Course:
    """A straight course over the epochs."""
    return lambda epoch: first + (last - first) * min(1.0, epoch / epochs)


RAW: Mapping[str, Course] = {
    "loss_ce": fall(1.1, 0.3),
    "loss_coords": fall(0.24, 0.1),
    "loss_ce_room": lambda epoch: 0.0,
}


def raw_losses(replaced: Mapping[str, Course], layers: int = 6) -> dict[str, Course]:
    """Unscaled losses of every layer; earlier layers lie a little above the last one."""
    found: dict[str, Course] = {}
    for base, course in {**RAW, **{name: c for name, c in replaced.items() if name in RAW}}.items():
        for layer in range(layers):
            worse = 1 + 0.02 * (layers - 1 - layer)
            name = base if layer == layers - 1 else f"{base}_{layer}"
            found[name] = lambda epoch, course=course, worse=worse: worse * course(epoch)
    found.update({name: course for name, course in replaced.items() if name in found and name not in RAW})
    return found


def values(at: float, replaced: Mapping[str, Course], layers: int = 6) -> dict[str, float]:
    """All numbers of one line: scaled losses, their twins, and the total."""
    raw = {name: course(at) for name, course in raw_losses(replaced, layers).items()}
    scaled = {name: value * COEFFICIENTS[name.rstrip("_0123456789")] for name, value in raw.items()}
    others = {"class_error": 40.0 - at, "cardinality_error_unscaled": 3.0}
    found = {"loss": sum(scaled.values()), **scaled, **others}
    found.update({f"{name}_unscaled": value for name, value in raw.items()})
    found.update({name: course(at) for name, course in replaced.items() if name not in raw})
    return found


def rounded(found: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in found.items()}


@pytest.fixture
def keypoints():
    """Builds a log. `train` and `val` replace or add courses, `means` those of the epoch's means; a number of
    epochs, iterations and printed lines; `kind`: text, json (epochs only)."""

    def build(
        *,
        kind: str = "text",
        epochs: int = 6,
        length: int = 40,
        every: int = 10,
        stop: tuple[int, int] | None = None,
        train: Mapping[str, Course] | None = None,
        means: Mapping[str, Course] | None = None,
        val: Mapping[str, Course] | None = None,
        validated: bool = True,
        layers: int = 6,
        config: Mapping[str, object] | None = None,
    ) -> Log:
        train = train or {}
        rows: list[Row] = []
        for epoch in range(1, epochs + 1):
            done = length if stop is None or epoch < stop[0] else stop[1] + 1 if epoch == stop[0] else 0
            for iteration in [at for at in range(length) if at % every == 0 or at == length - 1]:
                if kind == "text" and iteration < done:
                    now = rounded(values(epoch - 1 + iteration / length, train, layers))
                    extra = {
                        "lr": 1e-4 if epoch < 6 else 1e-5,
                        "time": 0.4,
                        "data_time": 0.1,
                        "memory": 900.0,
                    }
                    step = (epoch - 1) * length + iteration + 1
                    # medians of single terms are not those of the sum
                    now["loss"] = round(now["loss"] * 0.98, 4)
                    now.update(
                        {
                            name: c(epoch - 1 + iteration / length)
                            for name, c in train.items()
                            if name == "loss"
                        }
                    )
                    rows.append(Row(step, epoch, iteration, "train", 0, {**extra, **now}))
            if done == length:
                mean = rounded(values(epoch - 0.5, {**train, **(means or {})}, layers))
                step = epoch if kind == "json" else epoch * length
                phase = "train" if kind == "json" else "epoch"
                rate = {"lr": 1e-4 if epoch < 6 else 1e-5}
                rows.append(Row(step, epoch, 0, phase, 0, {**rate, **mean}))
                if validated:
                    check = values(epoch, {"pck@0.1": fall(0.1, 0.8), **train, **(val or {})}, layers)
                    rows.append(Row(step, epoch, 0, "val", 0, rounded(check)))
        return Log(
            format=f"metriclogger-{kind}",
            sources=("train.log",),
            rows=tuple(rows),
            iters_per_epoch=None if kind == "json" else length,
            max_epochs=6 if config is None else None,
            interval=None if kind == "json" else every,
            epochs_only=kind == "json",
            setup={"ranks": "2"},
            config={**CONFIG, **(config or {})},
        )

    return build
